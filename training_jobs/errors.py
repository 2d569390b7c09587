"""Errors of the jobs that the person who wrote the input can fix."""


class JobInputError(ValueError):
    """Bad input or config. The message names the place, the value and the fix; the exit code is 2."""
