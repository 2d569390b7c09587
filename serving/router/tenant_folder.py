"""The folder of tenancy records, read again when it changes."""

import logging
from pathlib import Path

from registry import documents
from registry.errors import RegistryError
from serving.router.tenancy import TenancyRecord, TenantDirectory

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


class TenantFolder:
    """Follows `<folder>/<domain>.json`.

    A file that cannot be read keeps the record that it held before, so that a bad edit of one
    domain never locks that domain out, and never touches another; a file that goes away takes its
    domain with it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: dict[str, _Stamp] = {}
        self._records: dict[str, TenancyRecord] = {}
        self.directory = TenantDirectory([])
        self.problems: dict[str, str] = {}

    def refresh(self) -> bool:
        """Look at the folder; true when the directory changed.

        Raises:
            OSError: The folder cannot be listed; the directory stays as it was.
        """
        found = {path.name: path for path in self._folder.iterdir() if path.suffix == ".json"}
        changed = [path for path in found.values() if self._is_new(path)]
        gone = self._records.keys() - found.keys()
        for name in gone:
            del self._records[name]
        self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in found}
        self.problems = {name: text for name, text in self.problems.items() if name in found}
        for path in changed:
            self._read(path)
        if changed or gone:
            self.directory = TenantDirectory(self._records.values())
            for claim in sorted(self.directory.conflicts):
                _log.error("%s is claimed by more than one domain: it belongs to none", claim)
        return bool(changed or gone)

    def _is_new(self, path: Path) -> bool:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._stamps.get(path.name) == stamp:
            return False
        self._stamps[path.name] = stamp
        return True

    def _read(self, path: Path) -> None:
        try:
            self._records[path.name] = _decode(path)
        except (OSError, RegistryError) as error:
            self.problems[path.name] = str(error)
            _log.error("tenancy record not used: %s", error)
            return
        self.problems.pop(path.name, None)


def _decode(path: Path) -> TenancyRecord:
    record = documents.decode(path.read_bytes(), TenancyRecord, str(path))
    if path.stem != record.domain:
        raise RegistryError(f"{path}: domain: {record.domain!r} is not the file's name")
    return record
