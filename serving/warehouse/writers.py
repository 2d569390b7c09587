"""What a shipper says of itself at `writers/<writer>.json`. No I/O."""

import datetime as dt

from registry.documents import Document


class LostLedger(Document):
    """A volume that its writer came back without: requests after its last shipping are unknown."""

    ledger_id: str
    last_shipped: dt.datetime | None
    shipped_until: dt.datetime | None


class WriterState(Document):
    """A writer of the ledger, as its shipper saw it last."""

    writer: str
    ledger_id: str
    """Of the volume that it writes to now."""
    orphans: int
    """Requests that were named as orphans."""
    last_shipped: dt.datetime | None
    """When anything was shipped last."""
    shipped_until: dt.datetime | None
    """Everything admitted before this time has been shipped or is still in flight; it stands still
    while a segment is damaged."""
    finished: bool
    """Nobody writes to the ledger any more, and all of it is shipped."""
    damaged: tuple[str, ...]
    """One sentence for each damaged segment, with file and line."""
    lost: tuple[LostLedger, ...]
    """Volumes that were not finished when the writer came back with another one."""


def taken_over(before: WriterState | None, writer: str, ledger_id: str) -> WriterState:
    """State of a writer that begins to ship a ledger.

    A volume that was not finished becomes one of the lost; one that comes back is lost no more.
    """
    if before is not None and before.ledger_id == ledger_id:
        return before
    lost = () if before is None else before.lost
    if before is not None and not before.finished:
        lost = (*lost, _lost(before))
    return WriterState(
        writer=writer,
        ledger_id=ledger_id,
        orphans=0,
        last_shipped=None,
        shipped_until=None,
        finished=False,
        damaged=(),
        lost=tuple(entry for entry in lost if entry.ledger_id != ledger_id),
    )


def _lost(state: WriterState) -> LostLedger:
    return LostLedger(
        ledger_id=state.ledger_id,
        last_shipped=state.last_shipped,
        shipped_until=state.shipped_until,
    )
