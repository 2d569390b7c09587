"""A warehouse's objects as local files, which is what DuckDB reads.

A directory's files are read where they are. Objects of S3 are copied to a local cache first, under
names made of key and etag: a copy is never stale, and the cache may be emptied at any time.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from registry.errors import PreconditionFailedError, RegistryError
from registry.store import ObjectStore, open_store

_DOWNLOADS_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Entry:
    """An object in a listing."""

    key: str
    mark: str
    """Changes when the object does."""


class Warehouse:
    """The warehouse's objects, and local files of those that DuckDB reads."""

    def __init__(
        self, store: ObjectStore, local_file: Callable[[Entry], Path], scratch: Path
    ) -> None:
        """Use a store; `open_warehouse` makes one from a URI.

        Args:
            store: Holds the objects.
            local_file: Gives the local file of an object.
            scratch: Existing directory for DuckDB's temporary files and new Parquet files.
        """
        self.store = store
        self.scratch = scratch
        self._local_file = local_file

    def entries(self, prefix: str) -> tuple[Entry, ...]:
        """Objects whose keys start with the prefix, in the order of their keys."""
        return tuple(Entry(key, mark) for key, mark in self.store.marks(prefix).items())

    def files(self, entries: Iterable[Entry]) -> list[Path]:
        """Local files with the content of the entries, in their order. Raises NotFoundError."""
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            return list(pool.map(self._local_file, entries))

    def create(self, key: str, content: bytes | Path) -> None:
        """Write an object whose key names its content; one that is there already stays."""
        with contextlib.suppress(PreconditionFailedError):
            if isinstance(content, Path):
                self.store.put_file(key, content, if_none_match=True)
            else:
                self.store.put(key, content, if_none_match=True)


def open_warehouse(uri: str, cache: Path | None = None) -> Warehouse:
    """Open `file:///absolute/directory`, which must exist, or `s3://bucket[/prefix]`.

    Args:
        uri: Where the warehouse is.
        cache: Folder for local copies and temporary files; `default_cache()` when None.

    Raises:
        RegistryError: Another scheme, or there is no such directory.
    """
    parts = urlsplit(uri)
    folder = cache or default_cache()
    if parts.scheme == "file":
        root = Path(parts.path)
        if not root.is_dir():
            raise RegistryError(f"warehouse {uri}: there is no such directory")
        return Warehouse(open_store(uri), lambda entry: root / entry.key, _made(folder))
    store = open_store(uri)
    return Warehouse(store, _Copies(store, _made(folder / "objects")), folder)


def file_sha256(path: Path) -> str:
    """Digest of a file's content, `sha256:<hex>`."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def default_cache() -> Path:
    """Where local copies go: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "custom-model-pipeline" / "warehouse"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


class _Copies:
    """Copies of a store's objects in a local folder."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self._folder = folder

    def __call__(self, entry: Entry) -> Path:
        name = hashlib.sha256(f"{entry.key}\n{entry.mark}".encode()).hexdigest()
        copy = self._folder / name
        if not copy.exists():
            part = self._folder / f"{name}.{uuid.uuid4().hex}.part"
            try:
                self._store.get_to_file(entry.key, part)
                part.replace(copy)
            finally:
                part.unlink(missing_ok=True)
        return copy
