"""What the engine shows of an error in a program."""

from collections.abc import Iterator
from contextlib import contextmanager

import pulumi

from registry.errors import RegistryError, StoreError
from registry.release import ReleaseConflictError
from stacks.config.load import ConfigError


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn expected errors into `pulumi.RunError`: of any other the engine prints a traceback."""
    try:
        yield
    except (ConfigError, ReleaseConflictError, RegistryError, StoreError, ValueError) as error:
        raise pulumi.RunError(str(error)) from error
