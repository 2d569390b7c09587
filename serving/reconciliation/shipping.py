"""How far the ledger is in the warehouse, and what had not ended then.

Read as the shippers write it; keys that are not needed here are passed over, so that either side
may be newer.
"""

import datetime as dt
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.store import ObjectStore
from serving.reconciliation.errors import ReconciliationError

_PARALLEL: Final = 16


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Lost(_Lenient):
    ledger_id: str
    shipped_until: dt.datetime | None = None


class _Writer(_Lenient):
    writer: str
    shipped_until: dt.datetime | None
    finished: bool
    lost: tuple[_Lost, ...] = ()


class OpenRequest(_Lenient):
    """A request that was admitted, and whose end was not shipped."""

    request_id: str
    admitted: dt.datetime
    customer: str
    pool: str


class _Progress(_Lenient):
    open: tuple[OpenRequest, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shipping:
    """The state of all shippers."""

    open: tuple[OpenRequest, ...]
    notes: tuple[str, ...]
    """What no comparison can make up for, such as a lost volume."""


def read_shipping(store: ObjectStore, until: dt.datetime) -> Shipping:
    """Make sure that everything admitted before a time is shipped, or had not ended.

    Raises:
        ReconciliationError: No shipper, or one that is behind, or a document that cannot be read.
    """
    writers = [_read(store, key, _Writer) for key in store.list("writers/")]
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
    return Shipping(_open(store), tuple(notes))


def _shipped(writer: _Writer, until: dt.datetime) -> bool:
    if writer.finished:
        return True
    return writer.shipped_until is not None and writer.shipped_until >= until


def _open(store: ObjectStore) -> tuple[OpenRequest, ...]:
    """Requests of all ledgers without an end; an end may be in a later segment."""
    by_ledger: defaultdict[str, list[_Progress]] = defaultdict(list)
    keys = store.list("shipped/")
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for key, progress in zip(
            keys, pool.map(lambda key: _read(store, key, _Progress), keys), strict=True
        ):
            by_ledger[key.rpartition("/")[0]].append(progress)
    found = []
    for segments in by_ledger.values():
        ended = {request_id for segment in segments for request_id in segment.ended}
        found += [
            request
            for segment in segments
            for request in segment.open
            if request.request_id not in ended
        ]
    return tuple(found)


_Document = TypeVar("_Document", bound=_Lenient)


def _read(store: ObjectStore, key: str, model: type[_Document]) -> _Document:
    try:
        return model.model_validate_json(store.get(key).data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ReconciliationError(f"{key}: {field}: {first['msg']}") from error
