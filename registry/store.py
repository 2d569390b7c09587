"""Object storage as the registry needs it, on a directory or on S3, with the same guarantees.

Both give create-only writes and compare-and-swap (S3: `If-None-Match: *` and `If-Match`), atomic
objects that are durable when `put` returns, and lists in key order.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from registry.errors import RegistryError

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*(/[A-Za-z0-9][A-Za-z0-9._=-]*)*")


@dataclass(frozen=True)
class StoredObject:
    """Content of an object and the tag that names this content."""

    data: bytes
    etag: str


class ObjectStore(Protocol):
    """What every store can do. Keys are slash-separated; no part starts with a dot.

    A store that does not answer, or refuses to, raises OSError: of S3 a StoreError.
    """

    def get(self, key: str) -> StoredObject:
        """Read an object. Raises NotFoundError."""

    def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        """Write an object whole or not at all and return its etag.

        Args:
            key: Where to write.
            data: The content.
            if_match: Write only over the object with this etag.
            if_none_match: Write only when there is no object.

        Raises:
            PreconditionFailedError: A condition does not hold; nothing was written.
            RegistryError: The key is immutable and the write is not create-only.
        """

    def put_file(self, key: str, path: Path, *, if_none_match: bool = False) -> str:
        """Write an object from a file; as `put`."""

    def get_to_file(self, key: str, path: Path) -> None:
        """Write an object's content to a new file at `path`. Raises NotFoundError."""

    def list(self, prefix: str) -> list[str]:
        """Keys that start with the prefix, sorted."""

    def marks(self, prefix: str) -> dict[str, str]:
        """Keys that start with the prefix, sorted, each with a mark of its object.

        The mark changes when the object does, and is read without the content.
        """


def check_key(key: str) -> str:
    """Return the key when it can be one.

    Raises:
        RegistryError: It has an empty or dotted part, or characters outside `A-Za-z0-9._=-/`.
    """
    if not _KEY.fullmatch(key):
        raise RegistryError(
            f"{key!r} cannot be a registry key: letters, digits and ._=- in parts between slashes"
        )
    return key


def open_store(uri: str) -> ObjectStore:
    """Open `file:///absolute/directory` or `s3://bucket[/prefix]`.

    Raises:
        RegistryError: Another scheme, or a path that is not absolute.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from registry.directory_store import DirectoryStore  # noqa: PLC0415  the two import this module

        return DirectoryStore(Path(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        from registry.s3_store import S3Store  # noqa: PLC0415  boto3 only where it is used

        return S3Store(parts.netloc, parts.path.strip("/"))
    raise RegistryError(
        f"registry uri {uri!r}: use file:///absolute/directory or s3://bucket/prefix"
    )
