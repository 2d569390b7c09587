"""Errors of the jobs that the person who wrote the input can fix."""


class JobInputError(ValueError):
    """Bad input or configuration; the message names the place, the value and the fix."""
