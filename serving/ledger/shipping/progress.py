"""How far a segment is shipped, and which of its requests have not ended. No I/O."""

import datetime as dt
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry.documents import Document


class OpenIntent(Document):
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
    than what the router had in flight.
    """

    writer: str
    ledger_id: str
    segment: int
    bytes: int = 0
    lines: int = 0
    last_record: dt.datetime | None = None
    """Time of the last record shipped."""
    open: tuple[OpenIntent, ...] = ()
    """Admitted in this segment, and not ended in it so far."""
    ended: tuple[str, ...] = ()
    """Request ids that ended in this segment and were admitted in an earlier one."""
    orphans: int | None = None
    """Of the process that this is the last segment of, once it is over and they are named."""


class Tally:
    """Follows a segment's records from where its progress stands."""

    def __init__(self, progress: SegmentProgress) -> None:
        self._before = progress
        self._open = {intent.request_id: intent for intent in progress.open}
        self._ended = dict.fromkeys(progress.ended)
        self._lines = 0
        self._end = progress.bytes
        self._last = progress.last_record
        self.events = 0

    def admitted(self, intent: OpenIntent, *, end: int, at: dt.datetime) -> None:
        """Note an intent whose line ends before byte `end`."""
        self._open[intent.request_id] = intent
        self._read(end, at)

    def ended(self, request_id: str, *, end: int, at: dt.datetime) -> None:
        """Note an event whose line ends before byte `end`."""
        if self._open.pop(request_id, None) is None:
            self._ended[request_id] = None
        self.events += 1
        self._read(end, at)

    def _read(self, end: int, at: dt.datetime) -> None:
        self._end, self._last = end, at
        self._lines += 1

    def progress(self) -> SegmentProgress:
        """Progress after what was noted."""
        return self._before.model_copy(
            update={
                "bytes": self._end,
                "lines": self._before.lines + self._lines,
                "last_record": self._last,
                "open": tuple(self._open.values()),
                "ended": tuple(self._ended),
            }
        )


@dataclass(frozen=True)
class Process:
    """One run of a router."""

    start: int
    """Its first segment; 0 for segments from before starts were noted."""
    segments: tuple[int, ...]


def processes(starts: Sequence[int], segments: Iterable[int]) -> list[Process]:
    """Segments by the process that wrote them, oldest first; processes without one are left out."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for number in sorted(segments):
        index = bisect_right(starts, number)
        found[starts[index - 1] if index else 0].append(number)
    return [Process(start, tuple(own)) for start, own in found.items()]


def never_ended(segments: Iterable[SegmentProgress]) -> list[OpenIntent]:
    """Requests of one process that have no event in any of its segments."""
    progresses = list(segments)
    ended = {request_id for progress in progresses for request_id in progress.ended}
    return [
        intent
        for progress in progresses
        for intent in progress.open
        if intent.request_id not in ended
    ]
