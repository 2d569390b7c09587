"""Adapter files on the model server's disk: complete and checked, or not there at all."""

import json
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from registry import layout
from registry.digests import file_digest
from registry.errors import RegistryError
from registry.names import PoolName, Version
from registry.store import ObjectStore
from serving.adapter_sync.wanted import WantedAdapter

_TEMPORARY_PREFIX = ".download-"


class AdapterFileError(Exception):
    """Files that must not be loaded; says which and why."""


class AdapterFiles:
    """The folder `<adapters_dir>/<served name>/` of every adapter; each is immutable."""

    def __init__(self, directory: Path, store: ObjectStore, pool: PoolName) -> None:
        self._directory = directory
        self._store = store
        self._pool = pool
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob(f"{_TEMPORARY_PREFIX}*"):
            shutil.rmtree(leftover)

    def path(self, name: str) -> Path:
        """Where an adapter's files lie."""
        return self._directory / name

    def names(self) -> set[str]:
        """Adapters that are on the disk."""
        return {path.name for path in self._directory.iterdir() if path.is_dir()}

    def ensure(self, adapter: WantedAdapter, *, served_base: str) -> Path:
        """Bring an adapter to the disk, or check the one that is there, before each load of it.

        Raises:
            AdapterFileError: A digest, the weights' file or the base model is not right.
            RegistryError: The registry does not have a file.
            OSError: The disk or the registry fails.
        """
        target = self.path(adapter.name)
        if target.is_dir():
            try:
                check_files(target, adapter, served_base)
            except AdapterFileError:
                shutil.rmtree(target)
        if not target.is_dir():
            self._download(adapter, target, served_base)
        return target

    def remove(self, name: str) -> None:
        """Delete an adapter's files."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    def _download(self, adapter: WantedAdapter, target: Path, served_base: str) -> None:
        check_listed(adapter)
        version = Version.parse(adapter.version)
        scratch = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=self._directory))
        try:
            for name in adapter.files:
                key = layout.adapter_file(adapter.domain, version, self._pool, name)
                self._store.get_to_file(key, scratch / name)
                _sync(scratch / name)
            check_files(scratch, adapter, served_base)
            scratch.chmod(0o755)
            scratch.replace(target)
            _sync(self._directory)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def check_files(directory: Path, adapter: WantedAdapter, served_base: str) -> None:
    """Hold an adapter's files against its manifest and the served base.

    Raises:
        AdapterFileError: What is wrong, with the file's name.
    """
    check_listed(adapter)
    for name, expected in adapter.files.items():
        actual = _digest(directory / name)
        if actual != expected:
            raise AdapterFileError(f"{name}: its digest is {actual}, the manifest says {expected}")
    check_safetensors(directory / layout.ADAPTER_WEIGHTS)
    config = _read_config(directory / layout.ADAPTER_CONFIG)
    base = config.get("base_model_name_or_path")
    if base != served_base or adapter.base_model != served_base:
        raise AdapterFileError(
            f"{layout.ADAPTER_CONFIG}: base_model_name_or_path is {base!r} and the manifest's "
            f"base {adapter.base_model!r}, but the server serves {served_base!r}"
        )


def check_listed(adapter: WantedAdapter) -> None:
    """An adapter has exactly the files that every adapter has. Raises AdapterFileError."""
    if set(adapter.files) != set(layout.ADAPTER_FILES):
        raise AdapterFileError(
            f"the manifest lists {', '.join(sorted(adapter.files)) or 'no files'}; an adapter "
            f"has {', '.join(sorted(layout.ADAPTER_FILES))}"
        )


def check_safetensors(path: Path) -> None:
    """Refuse a weights file that is shorter or longer than its header says.

    Raises:
        AdapterFileError: Truncated, or not in the format.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise AdapterFileError(f"{path.name}: truncated: {size} bytes end inside its header")
        header = stream.read(length)
    try:
        tensors = json.loads(header)
        end = max(
            (entry["data_offsets"][1] for key, entry in tensors.items() if key != "__metadata__"),
            default=0,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise AdapterFileError(f"{path.name}: not a safetensors file: {error}") from error
    if 8 + length + end != size:
        raise AdapterFileError(
            f"{path.name}: truncated or padded: {size} bytes, its header says {8 + length + end}"
        )


def describe(error: Exception) -> str:
    """One line for the status."""
    if isinstance(error, AdapterFileError | RegistryError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise AdapterFileError(f"{path.name}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterFileError(f"{path.name}: not a JSON object")
    return config


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except FileNotFoundError:
        raise AdapterFileError(f"{path.name} is missing") from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
