"""A folder of JSON files that another process reads while they change."""

from collections.abc import Collection
from pathlib import Path


class Folder:
    """Writes files whole: who reads one sees the old content or the new."""

    def __init__(self, path: Path) -> None:
        """Make the folder where it is missing.

        Raises:
            OSError: It cannot be made.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, name: str, content: bytes) -> bool:
        """Write `<name>.json`, unless that is what it says; whether it was written."""
        path = self._path / f"{name}.json"
        if path.is_file() and path.read_bytes() == content:
            return False
        temporary = self._path / f".{name}.new"
        temporary.write_bytes(content)
        temporary.replace(path)
        return True

    def keep_only(self, names: Collection[str]) -> list[str]:
        """Remove every other file; gives the names of those that went."""
        gone = [path for path in self._path.glob("*.json") if path.stem not in names]
        for path in gone:
            path.unlink(missing_ok=True)
        return sorted(path.stem for path in gone)
