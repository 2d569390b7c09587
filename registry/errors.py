"""Errors of the registry. Each message names the object, what is wrong with it and what to do."""


class RegistryError(Exception):
    """A request that the registry refuses, or an object that it cannot accept."""


class NotFoundError(RegistryError):
    """No object under this key."""


class PreconditionFailedError(RegistryError):
    """The object changed since it was read, or exists although it must not."""


class StoreError(OSError):
    """The store does not answer, or refuses to. As with a disk, it says nothing of the object."""
