"""Segment files: their names, the repair of a torn tail, and appending."""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.ledger.records import DamagedRecordError, Record, RecordError, decode

_NAME: Final = re.compile(r"segment-(\d{10})\.jsonl")
_LOCK: Final = ".writer.lock"


class LedgerError(Exception):
    """The ledger cannot be written."""


def segment_paths(directory: Path) -> list[Path]:
    """Segments of a ledger, oldest first."""
    return sorted(path for path in directory.glob("segment-*.jsonl") if _NAME.fullmatch(path.name))


@dataclass(frozen=True)
class Scan:
    """What one segment's bytes hold."""

    records: list[Record]
    """Readable records up to the first unreadable line."""
    sound_bytes: int
    """Length up to the end of the last of them."""
    torn_only: bool
    """Everything after that is unreadable to the very end (a tear, not damage in the middle)."""


def scan(data: bytes) -> Scan:
    """Read the lines of a segment."""
    records: list[Record] = []
    position, sound = 0, 0
    for line in data.splitlines(keepends=True):
        start, position = position, position + len(line)
        try:
            record = _read(line)
        except DamagedRecordError:
            continue
        except RecordError:
            record = None
        if record is None or start != sound:
            return Scan(records, sound, torn_only=False)
        records.append(record)
        sound = position
    return Scan(records, sound, torn_only=True)


def repair_tail(path: Path) -> int:
    """Cut what a crash left half written off the end of a segment.

    The bytes cut off are kept beside it as `<name>.torn`. Damage between readable lines is left
    alone: the reader names it.

    Returns:
        Number of bytes cut.
    """
    data = path.read_bytes()
    found = scan(data)
    sound = found.sound_bytes
    if not found.torn_only or sound == len(data):
        return 0
    torn = path.with_suffix(".torn")
    with torn.open("wb") as stream:
        stream.write(data[sound:])
        stream.flush()
        os.fsync(stream.fileno())
    with path.open("r+b") as stream:
        stream.truncate(sound)
        os.fsync(stream.fileno())
    return len(data) - sound


def _read(line: bytes) -> Record:
    if not line.endswith(b"\n"):
        raise DamagedRecordError("the line has no end")
    return decode(line[:-1])


class SegmentFile:
    """The growing end of a ledger. One per directory: a second one is refused.

    Every append is durable (fdatasync) when it returns. Opening repairs the newest segment's tail
    and starts a new segment, so a file once closed never changes.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Open the ledger for writing.

        Raises:
            LedgerError: The directory cannot be used, or another process writes to it.
        """
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = self._take_lock()
        self.repaired_bytes = sum(repair_tail(path) for path in segment_paths(directory)[-1:])
        self._file = -1
        self._size = 0
        self._open_next()

    def append(self, data: bytes) -> None:
        """Write whole lines and wait until they are on the disk. Raises OSError."""
        if self._size >= self._max_bytes:
            self._open_next()
        try:
            self._write(data)
            os.fdatasync(self._file)
        except OSError:
            # Half a batch may be in the file, and a failed sync cannot be tried again: what
            # follows goes to a new segment, and the reader passes over this one's tail.
            self._size = self._max_bytes
            raise

    def close(self) -> None:
        """Close the segment and let another writer in."""
        os.close(self._file)
        os.close(self._lock)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            self._size += written
            view = view[written:]

    def _take_lock(self) -> int:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as error:
            raise LedgerError(f"ledger directory {self._directory}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise LedgerError(
                f"ledger directory {self._directory} is being written by another process: "
                "every router needs a directory of its own"
            ) from error
        return lock

    def _open_next(self) -> None:
        existing = segment_paths(self._directory)
        number = int(existing[-1].name[8:18]) + 1 if existing else 1
        path = self._directory / f"segment-{number:010d}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._size = 0
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
