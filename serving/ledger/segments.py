"""Segment files: appending to the newest, and the repair of what a crash left of it."""

import os
import shutil
from pathlib import Path

from serving.ledger.folder import (
    ensure_ledger_id,
    mark_start,
    segment_number,
    segment_path,
    segment_paths,
    sync_directory,
    take_lock,
)
from serving.ledger.lines import behind_gaps, sound_end


def repair_tail(path: Path) -> int:
    """Cut what a crash left half written off the end of a segment.

    The bytes cut off are kept beside it as `<name>.torn`. A power cut may leave pages of the last
    batch that were never written between pages that were: readable records behind such a gap stay
    in the segment. (No answer of that batch had ended for its client: nothing was synced.) Any
    other damage between readable lines is left alone: the reader names it.

    Returns:
        Number of bytes cut.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        sound = sound_end(stream, 0, size)
        rescued = behind_gaps(stream, sound, size)
        if rescued is None or sound == size:
            return 0
        stream.seek(sound)
        _write_synced(path.with_suffix(".torn"), stream.read())
    if rescued:
        _replace_tail(path, sound, b"".join(rescued))
    else:
        _truncate(path, sound)
    return size - path.stat().st_size


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(size)
        os.fsync(stream.fileno())


def _replace_tail(path: Path, sound: int, tail: bytes) -> None:
    """Put other bytes behind the sound ones, in one step that a crash cannot halve."""
    whole = path.with_suffix(".repaired")
    shutil.copyfile(path, whole)
    with whole.open("r+b") as stream:
        stream.truncate(sound)
        stream.seek(sound)
        stream.write(tail)
        stream.flush()
        os.fsync(stream.fileno())
    whole.replace(path)
    sync_directory(path.parent)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


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
        self._lock = take_lock(directory)
        ensure_ledger_id(directory)
        self.repaired_bytes = sum(repair_tail(path) for path in segment_paths(directory)[-1:])
        self._file = -1
        self._size = 0
        mark_start(directory, self._next_number())
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

    def _next_number(self) -> int:
        existing = segment_paths(self._directory)
        return segment_number(existing[-1]) + 1 if existing else 1

    def _open_next(self) -> None:
        path = segment_path(self._directory, self._next_number())
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._size = 0
        sync_directory(self._directory)
