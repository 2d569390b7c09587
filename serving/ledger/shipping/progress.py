"""Follows segments as they are shipped, and the processes that wrote them. No I/O."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.warehouse.progress import OpenRequest, SegmentProgress


class SegmentTally:
    """Follows a segment's records from where its progress stands."""

    def __init__(self, progress: SegmentProgress) -> None:
        self._before = progress
        self._open = {request.request_id: request for request in progress.open}
        self._ended = dict.fromkeys(progress.ended)
        self._lines = 0
        self._end = progress.bytes
        self.events = 0

    def admitted(self, request: OpenRequest, *, end: int) -> None:
        """Note an intent whose line ends before byte `end`."""
        self._open[request.request_id] = request
        self._read(end)

    def ended(self, request_id: str, *, end: int) -> None:
        """Note an event whose line ends before byte `end`."""
        if self._open.pop(request_id, None) is None:
            self._ended[request_id] = None
        self.events += 1
        self._read(end)

    def _read(self, end: int) -> None:
        self._end = end
        self._lines += 1

    def progress(self) -> SegmentProgress:
        """Progress after what was noted."""
        return self._before.model_copy(
            update={
                "bytes": self._end,
                "lines": self._before.lines + self._lines,
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
