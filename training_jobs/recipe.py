"""Version of the training recipe."""

from typing import Final

RECIPE_VERSION: Final = 1
"""Raise it with every change of code that changes trained weights from the same configuration.

It is part of each training digest, so that a changed recipe never passes for the old one.
"""
