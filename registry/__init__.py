"""Adapter identity, registry layout, release bundle, pointer and the release state machine.

The one package that stacks, jobs and serving share. It never imports pulumi, and it talks to
storage only through :class:`registry.store.ObjectStore`, so that a directory and an S3 bucket are
the same thing to everything above it.
"""
