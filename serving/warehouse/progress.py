"""How far a segment is shipped, and which of its requests have not ended. No I/O."""

import datetime as dt
from collections.abc import Iterable

from registry.documents import Document


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
    than what the router had in flight.
    """

    writer: str
    ledger_id: str
    segment: int
    bytes: int
    lines: int
    open: tuple[OpenRequest, ...]
    """Admitted in this segment, and not ended in it so far."""
    ended: tuple[str, ...]
    """Request ids that ended in this segment and were admitted in an earlier one."""
    orphans: int | None
    """Of the process that this is the last segment of, once it is over and they are named."""


def nothing_shipped(writer: str, ledger_id: str, segment: int) -> SegmentProgress:
    """Progress of a segment before its first range."""
    return SegmentProgress(
        writer=writer,
        ledger_id=ledger_id,
        segment=segment,
        bytes=0,
        lines=0,
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
