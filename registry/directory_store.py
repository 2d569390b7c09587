"""The object store on a local directory."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.layout import is_immutable
from registry.store import StoredObject, check_key

_TEMPORARY = ".tmp"
_LOCK = ".lock"


class DirectoryStore:
    """Objects are files below `root`; conditions are checked under one exclusive file lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / _TEMPORARY).mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> StoredObject:
        """Read an object. Raises NotFoundError."""
        try:
            data = self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"no object {key!r} in {self._root}") from None
        return StoredObject(data, _etag(data))

    def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        """Write an object; see ObjectStore.put."""
        with self._temporary() as temporary:
            temporary.write_bytes(data)
            self._commit(key, temporary, if_match=if_match, if_none_match=if_none_match)
        return _etag(data)

    def put_file(self, key: str, path: Path, *, if_none_match: bool = False) -> str:
        """Write an object from a file; see ObjectStore.put."""
        with self._temporary() as temporary:
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as stream:
                etag = hashlib.file_digest(stream, "sha256").hexdigest()
            self._commit(key, temporary, if_match=None, if_none_match=if_none_match)
        return etag

    def get_to_file(self, key: str, path: Path) -> None:
        """Write an object's content to a new file. Raises NotFoundError."""
        try:
            shutil.copyfile(self._path(key), path)
        except (FileNotFoundError, IsADirectoryError):
            raise NotFoundError(f"no object {key!r} in {self._root}") from None

    def list(self, prefix: str) -> list[str]:
        """Keys that start with the prefix, sorted."""
        start = self._root / prefix.rpartition("/")[0]
        found = (
            path.relative_to(self._root).as_posix() for path in start.rglob("*") if path.is_file()
        )
        return sorted(key for key in found if key.startswith(prefix) and not key.startswith("."))

    def marks(self, prefix: str) -> dict[str, str]:
        """Keys and their marks; see ObjectStore.marks."""
        return {key: _mark(self._root / key) for key in self.list(prefix)}

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(dir=self._root / _TEMPORARY)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _commit(
        self, key: str, temporary: Path, *, if_match: str | None, if_none_match: bool
    ) -> None:
        if is_immutable(key) and not if_none_match:
            raise RegistryError(
                f"{key!r} is immutable: it can be created once and never overwritten"
            )
        target = self._path(key)
        _sync(temporary)
        with self._locked():
            self._check(key, target, if_match=if_match, if_none_match=if_none_match)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
            _sync(target.parent)

    def _check(self, key: str, target: Path, *, if_match: str | None, if_none_match: bool) -> None:
        exists = target.is_file()
        if if_none_match and exists:
            raise PreconditionFailedError(f"{key!r} exists already")
        if if_match is not None and (not exists or _etag(target.read_bytes()) != if_match):
            raise PreconditionFailedError(f"{key!r} changed since it was read")


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mark(path: Path) -> str:
    # Every write makes a new file, so the inode tells apart what the clock is too coarse for.
    found = path.stat()
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
