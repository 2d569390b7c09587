"""How far a segment is shipped, and which of its requests have not ended. No I/O."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from registry.documents import Document
from serving.warehouse.layout import range_name, shipped_key


class OpenRequest(Document):
    """A request that was admitted and has no event yet."""

    request_id: str
    admitted: dt.datetime
    customer: str
    domain: str
    version: str | None
    served_model: str
    pool: str
    experiment: str | None
    stream: bool


class SegmentProgress(Document):
    """What is kept at `serving.warehouse.layout.shipped_key`.

    Each segment stands for itself, so a damaged one holds up no other. `open` and `ended` of all
    segments of a process together say which of its requests never ended. Both are short: no longer
    than what the router had in flight. `files` has some fifty bytes for each file.
    """

    writer: str
    ledger_id: str
    segment: int
    bytes: int
    tail_crc: int
    """CRC-32 of the last of these bytes: whether a segment of this number is still the same one."""
    lines: int
    files: dict[str, tuple[str, ...]]
    """Spans of the files that hold its rows, by folder, such as `events/day=2026-11-03/`."""
    whole: bool
    """It had ended, and all of it is shipped."""
    open: tuple[OpenRequest, ...]
    """Admitted in this segment, and not ended in it so far."""
    ended: tuple[str, ...]
    """Request ids that ended in this segment and were admitted in an earlier one."""
    orphans: int | None
    """Of the process that this is the last segment of, once it is over and they are named."""

    @property
    def key(self) -> str:
        """Where this is kept."""
        return shipped_key(self.writer, self.ledger_id, self.segment)

    def file_keys(self) -> Iterator[str]:
        """Keys of its files."""
        for folder, spans in self.files.items():
            for span in spans:
                yield folder + range_name(self.writer, self.ledger_id, self.segment, span)

    def with_files(self, written: Mapping[str, str]) -> Self:
        """The same with one more file in each of these folders, given their spans."""
        more = {folder: (*self.files.get(folder, ()), span) for folder, span in written.items()}
        return self.model_copy(update={"files": {**self.files, **more}})


def nothing_shipped(writer: str, ledger_id: str, segment: int) -> SegmentProgress:
    """Progress of a segment before its first range."""
    return SegmentProgress(
        writer=writer,
        ledger_id=ledger_id,
        segment=segment,
        bytes=0,
        tail_crc=0,
        lines=0,
        files={},
        whole=False,
        open=(),
        ended=(),
        orphans=None,
    )


def open_requests(segments: Iterable[SegmentProgress]) -> list[OpenRequest]:
    """Requests that have no event in any of these segments."""
    progresses = list(segments)
    ended = {request_id for progress in progresses for request_id in progress.ended}
    return [
        request
        for progress in progresses
        for request in progress.open
        if request.request_id not in ended
    ]
