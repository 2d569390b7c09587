"""How far the ledger is in the warehouse, and what had not ended then."""

import datetime as dt
from dataclasses import dataclass

from registry.store import ObjectStore
from serving.reconciliation.errors import ReconciliationError
from serving.warehouse.progress import OpenRequest, open_requests
from serving.warehouse.reading import read_progress, read_writers
from serving.warehouse.writers import WriterState


@dataclass(frozen=True)
class Shipping:
    """The state of all shippers."""

    open: tuple[OpenRequest, ...]
    notes: tuple[str, ...]
    """What no comparison can make up for, such as a lost volume."""


def read_shipping(store: ObjectStore, until: dt.datetime) -> Shipping:
    """Make sure that everything admitted before a time is shipped, or had not ended.

    Raises:
        ReconciliationError: No shipper, or one that is behind.
        RegistryError: A document cannot be read.
    """
    writers = read_writers(store)
    if not writers:
        raise ReconciliationError(
            "the warehouse has no writers/: no ledger was ever shipped to it; is warehouse_uri "
            "the one that the shippers write to?"
        )
    behind = [writer for writer in writers if not _shipped(writer, until)]
    if behind:
        times = [writer.shipped_until for writer in behind if writer.shipped_until is not None]
        least = min(times).isoformat() if len(times) == len(behind) else "no time"
        names = ", ".join(writer.writer for writer in behind)
        raise ReconciliationError(
            f"{names}: the ledger is shipped until {least}, and is needed until "
            f"{until.isoformat()}: end the interval earlier (--to), or see the shipper's log"
        )
    notes = [
        f"{writer.writer}: volume {lost.ledger_id} was lost; what it had after "
        f"{lost.shipped_until or 'its start'} is in no sum, and unknown here"
        for writer in writers
        for lost in writer.lost
    ]
    progress = [segment for segment, _ in read_progress(store)]
    return Shipping(tuple(open_requests(progress)), tuple(notes))


def _shipped(writer: WriterState, until: dt.datetime) -> bool:
    if writer.finished:
        return True
    return writer.shipped_until is not None and writer.shipped_until >= until
