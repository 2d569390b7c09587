"""Ships the segments of one ledger, and names what its ended processes left open."""

import contextlib
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from registry import documents
from registry.errors import PreconditionFailedError
from registry.store import ObjectStore
from serving.ledger.folder import segment_number
from serving.ledger.lines import damage, sound_records
from serving.ledger.reader import damaged_line
from serving.ledger.records import Event, Record
from serving.ledger.shipping.parquet import DayFiles
from serving.ledger.shipping.progress import Process, SegmentTally
from serving.ledger.shipping.rows import (
    RowError,
    event_row,
    open_request,
    orphan_row,
)
from serving.warehouse import columns, layout
from serving.warehouse.progress import SegmentProgress, nothing_shipped, open_requests
from serving.warehouse.reading import read_progress

RANGE_BYTES: Final = 16 * 1024 * 1024
"""A longer backlog becomes several files."""
IF_RESTORED: Final = (
    "when the volume was restored from a snapshot, stop the router and remove the file ledger-id: "
    "the ledger then counts as another one"
)
# Some lines, each with a request id that no other segment has. Stored progress depends on it.
_TAIL_BYTES: Final = 4096


class LedgerShipment:
    """Everything shipped of one ledger: what the store knows of it, and moving that forward."""

    def __init__(self, store: ObjectStore, writer: str, ledger_id: str) -> None:
        """Read the progress of every segment."""
        self._store = store
        self._writer = writer
        self._ledger_id = ledger_id
        self._progress: dict[int, SegmentProgress] = {}
        self._etags: dict[int, str] = {}
        self._looked_at: dict[int, int] = {}
        self.events = 0
        """Events shipped by this object."""
        for progress, etag in read_progress(store, layout.shipped_folder(writer, ledger_id)):
            self._progress[progress.segment] = progress
            self._etags[progress.segment] = etag

    @property
    def progress(self) -> dict[int, SegmentProgress]:
        """Progress by segment."""
        return self._progress

    def ship_segment(self, path: Path, *, ended: bool) -> str | None:
        """Ship what a segment has more than was shipped before.

        Args:
            path: The segment.
            ended: Another one follows it, so nothing is written to it any more.

        Returns:
            What is wrong with the segment; None for nothing. A torn tail is nothing: a crash or a
            write in progress leaves it.
        """
        number = segment_number(path)
        problem = self._look(path, number)
        if problem is None and ended and not self._of(number).whole:
            self._save(self._of(number).model_copy(update={"whole": True}))
        return problem

    def _look(self, path: Path, number: int) -> str | None:
        if self._looked_at.get(number) == path.stat().st_size:
            return None
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # What is shipped is durable here first, so no crash makes a segment shorter than that.
            os.fdatasync(stream.fileno())
            problem = self._ship_open(stream, path, number, size)
        if problem is None:
            self._looked_at[number] = size
        return problem

    def name_orphans(self, process: Process) -> None:
        """Write down the requests that a process left open. It is over and wholly shipped."""
        segments = [self._of(number) for number in process.segments]
        if any(segment.orphans is not None for segment in segments):
            return
        last = segments[-1]
        orphans = open_requests(segments)
        with DayFiles(columns.ORPHANS) as files:
            for request in orphans:
                files.add(*orphan_row(request, self._writer))
            written = self._put(layout.ORPHANS, files, last.segment, 0, last.bytes)
        self._save(last.with_files(written).model_copy(update={"orphans": len(orphans)}))

    def _ship_open(self, stream: BinaryIO, path: Path, number: int, size: int) -> str | None:
        shipped = self._of(number)
        if size < shipped.bytes:
            return (
                f"{path}: {size} bytes long, but {shipped.bytes} were shipped: the disk lost what "
                f"it had confirmed; restore the segment from a backup of the volume; {IF_RESTORED}"
            )
        if _tail_crc(stream, shipped.bytes) != shipped.tail_crc:
            return (
                f"{path}: its first {shipped.bytes} bytes are not those that were shipped; restore "
                f"the segment from a backup of the volume; {IF_RESTORED}"
            )
        reason = None
        moved = True
        while moved and reason is None:
            moved, reason = self._ship_range(stream, number, size)
        done = self._of(number)
        reason = reason or damage(stream, done.bytes, size)
        return None if reason is None else damaged_line(path, done.lines + 1, reason)

    def _ship_range(self, stream: BinaryIO, number: int, size: int) -> tuple[bool, str | None]:
        """Ship one range; whether there was one, and why it ends at an unfit record, if it does."""
        before = self._of(number)
        tally, reason = SegmentTally(before), None
        with DayFiles(columns.EVENTS) as files:
            for end, record in sound_records(stream, before.bytes, size):
                try:
                    self._take(record, end, tally, files)
                except RowError as error:
                    reason = str(error)
                    break
                if end - before.bytes >= RANGE_BYTES:
                    break
            after = tally.progress()
            if after.bytes == before.bytes:
                return False, reason
            written = self._put(layout.EVENTS, files, number, before.bytes, after.bytes)
        crc = _tail_crc(stream, after.bytes)
        self._save(after.with_files(written).model_copy(update={"tail_crc": crc}))
        self.events += tally.events
        return True, reason

    def _take(self, record: Record, end: int, tally: SegmentTally, files: DayFiles) -> None:
        if isinstance(record, Event):
            files.add(*event_row(record, self._writer))
            tally.ended(record.request_id, end=end)
        else:
            tally.admitted(open_request(record), end=end)

    def _put(
        self, prefix: str, files: DayFiles, segment: int, begin: int, end: int
    ) -> dict[str, str]:
        """Write each day's file; returns their spans by folder."""
        written = {}
        for day, crc, path in files.parquet():
            folder, span = layout.day_folder(prefix, day), layout.span(begin, end, crc)
            key = folder + layout.range_name(self._writer, self._ledger_id, segment, span)
            # An object of this name holds these rows: a shipper put it there and then crashed.
            with contextlib.suppress(PreconditionFailedError):
                self._store.put_file(key, path, if_none_match=True)
            written[folder] = span
        return written

    def _of(self, number: int) -> SegmentProgress:
        none_yet = nothing_shipped(self._writer, self._ledger_id, number)
        return self._progress.get(number, none_yet)

    def _save(self, progress: SegmentProgress) -> None:
        etag = self._etags.get(progress.segment)
        self._etags[progress.segment] = self._store.put(
            progress.key, documents.encode(progress), if_match=etag, if_none_match=etag is None
        )
        self._progress[progress.segment] = progress


def _tail_crc(stream: BinaryIO, end: int) -> int:
    length = min(end, _TAIL_BYTES)
    stream.seek(end - length)
    return zlib.crc32(stream.read(length))
