"""Configuration files of the serving processes, and the log format that they share."""

import logging
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from registry import documents
from registry.documents import Document
from registry.errors import RegistryError

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+(/[^\s]*[^\s/])?$")]
"""A URL without a slash at its end."""


class SettingsError(Exception):
    """A configuration file that cannot be used; names file, key and value."""


class Listen(Document):
    """Where a process listens."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)


AnySettings = TypeVar("AnySettings", bound=Document)


def load(path: Path, model: type[AnySettings]) -> AnySettings:
    """Read a JSON configuration file.

    Raises:
        SettingsError: The file is missing or does not fit the model.
    """
    try:
        return documents.decode(path.read_bytes(), model, str(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except RegistryError as error:
        raise SettingsError(str(error)) from error


def configure_logging() -> None:
    """One line per record on stderr, times in UTC."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
