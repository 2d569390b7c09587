"""Reading a segment: its sound records, and what is wrong behind them.

Everything reads up to a given end, so that a segment may grow meanwhile.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

from serving.ledger.records import DamagedRecordError, Record, RecordError, decode

# Records are JSON and hold no zero byte. A run of a disk sector's length was never written: after a
# power cut, a file may have the last pages of a batch without those before them.
_NEVER_WRITTEN: Final = b"\0" * 512


def sound_records(stream: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, Record]]:
    """Records of bytes `[begin, end)` up to the first unreadable line, each with the offset behind.

    `begin` is the start of a line. One line is in memory at a time.
    """
    position = begin
    for line in _lines(stream, begin, end):
        try:
            record = _read(line)
        except RecordError:
            return
        position += len(line)
        yield position, record


def sound_end(stream: BinaryIO, begin: int, end: int) -> int:
    """Where the first unreadable line of bytes `[begin, end)` starts; `end` when there is none."""
    offset = begin
    for following, _ in sound_records(stream, begin, end):
        offset = following
    return offset


def damage(stream: BinaryIO, begin: int, end: int) -> str | None:
    """Why the line at `begin` cannot be read, when it is more than a torn tail.

    What a crash or a write in progress leaves is unreadable to the very end: that is None. A
    readable line behind an unreadable one means that records are lost, and a whole line that this
    version does not know means that another version wrote it.
    """
    reason = None
    for line in _lines(stream, begin, end):
        try:
            _read(line)
        except DamagedRecordError as error:
            reason = reason or str(error)
        except RecordError as error:
            return reason or str(error)
        else:
            return reason
    return None


def behind_gaps(stream: BinaryIO, begin: int, end: int) -> list[bytes] | None:
    """Readable lines behind gaps that were never written; empty for a torn tail.

    None when something else is unreadable before a readable line: no crash leaves that.
    """
    found: list[bytes] = []
    explained = True
    for line in _lines(stream, begin, end):
        try:
            _read(line)
        except DamagedRecordError:
            explained = explained and _NEVER_WRITTEN in line
        except RecordError:
            return None
        else:
            if not explained:
                return None
            found.append(line)
    return found


def _lines(stream: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    stream.seek(begin)
    left = end - begin
    while left > 0 and (line := stream.readline(left)):
        left -= len(line)
        yield line


def _read(line: bytes) -> Record:
    if not line.endswith(b"\n"):
        raise DamagedRecordError("the line has no end")
    return decode(line[:-1])
