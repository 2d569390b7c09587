"""Ships the segments of one ledger, and names what its ended processes left open."""

import contextlib
import os
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

    def ship_segment(self, path: Path) -> str | None:
        """Ship what a segment has more than was shipped before.

        Returns:
            What is wrong with the segment; None for nothing. A torn tail is nothing: a crash or a
            write in progress leaves it.
        """
        number = segment_number(path)
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
        last = self._of(process.segments[-1])
        if last.orphans is not None:
            return
        orphans = open_requests(self._of(number) for number in process.segments)
        with DayFiles(columns.ORPHANS) as files:
            for request in orphans:
                files.add(*orphan_row(request, self._writer))
            self._put(layout.ORPHANS, files, last.segment, 0, last.bytes)
        self._save(last.model_copy(update={"orphans": len(orphans)}))

    def _ship_open(self, stream: BinaryIO, path: Path, number: int, size: int) -> str | None:
        shipped = self._of(number).bytes
        if size < shipped:
            return (
                f"{path}: {size} bytes long, but {shipped} were shipped: the disk lost what it had "
                "confirmed; restore the segment from a backup of the volume"
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
            self._put(layout.EVENTS, files, number, before.bytes, after.bytes)
        self._save(after)
        self.events += tally.events
        return True, reason

    def _take(self, record: Record, end: int, tally: SegmentTally, files: DayFiles) -> None:
        if isinstance(record, Event):
            files.add(*event_row(record, self._writer))
            tally.ended(record.request_id, end=end)
        else:
            tally.admitted(open_request(record), end=end)

    def _put(self, prefix: str, files: DayFiles, segment: int, begin: int, end: int) -> None:
        name = layout.range_name(self._writer, self._ledger_id, segment, begin, end)
        for day, path in files.parquet():
            key = layout.day_folder(prefix, day) + name
            # An object of this name holds these rows: a shipper put it there and then crashed.
            with contextlib.suppress(PreconditionFailedError):
                self._store.put_file(key, path, if_none_match=True)

    def _of(self, number: int) -> SegmentProgress:
        none_yet = nothing_shipped(self._writer, self._ledger_id, number)
        return self._progress.get(number, none_yet)

    def _save(self, progress: SegmentProgress) -> None:
        key = layout.shipped_key(self._writer, self._ledger_id, progress.segment)
        etag = self._etags.get(progress.segment)
        self._etags[progress.segment] = self._store.put(
            key, documents.encode(progress), if_match=etag, if_none_match=etag is None
        )
        self._progress[progress.segment] = progress
