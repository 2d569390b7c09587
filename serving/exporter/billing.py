"""What the warehouse says of the way from the ledger to closed months."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from registry.store import ObjectStore
from serving.billing import months
from serving.billing.parts import NewestPart, StoredPart
from serving.warehouse import layout
from serving.warehouse.reading import read, read_writers

_NEVER: Final = dt.datetime.fromtimestamp(0, dt.UTC)


@dataclass(frozen=True)
class BillingHealth:
    """Sums over what is not billed yet."""

    shipped: Mapping[str, dt.datetime]
    """Up to when a writer has shipped everything, 1970 for never; finished writers are left out."""
    damaged: Mapping[str, int]
    """Segments that a writer cannot ship, because they are damaged."""
    lost: Mapping[str, int]
    """Volumes that a writer came back without before all of them was shipped."""
    closed_until: dt.datetime | None
    """End of the newest closed month; before the first, begin of the first month with a part; None
    before there is any."""
    orphans: int
    attention: Mapping[str, int]
    """Findings that wait for a person, by kind."""


def read_billing(store: ObjectStore) -> BillingHealth:
    """Read writers, closed months and the parts of the open ones.

    Raises:
        RegistryError: An object cannot be read; names it.
        BillingError: A closed month has a name that is no month.
        OSError: The store is away.
    """
    writers = read_writers(store)
    part_days = _part_days(store)
    closed_until = _closed_until(store.list(layout.CLOSED), part_days)
    parts = list(_open_parts(store, part_days, closed_until))
    return BillingHealth(
        shipped={
            each.writer: each.shipped_until or _NEVER for each in writers if not each.finished
        },
        damaged={each.writer: len(each.damaged) for each in writers},
        lost={each.writer: len(each.lost) for each in writers},
        closed_until=closed_until,
        orphans=sum(len(part.orphans) for part in parts),
        attention=Counter(finding.kind for part in parts for finding in part.attention),
    )


def _part_days(store: ObjectStore) -> list[dt.date]:
    days = map(layout.day_of_newest_part, store.list(layout.PARTS))
    return [day for day in days if day is not None]


def _closed_until(closed: Iterable[str], part_days: Iterable[dt.date]) -> dt.datetime | None:
    newest = max(map(layout.closed_month, closed), default=None)
    if newest is not None:
        return months.bounds(newest)[1]
    first = min(part_days, default=None)
    return None if first is None else months.bounds(months.month_of(first))[0]


def _open_parts(
    store: ObjectStore, days: Iterable[dt.date], closed_until: dt.datetime | None
) -> Iterator[StoredPart]:
    for day in days:
        if closed_until is None or day >= closed_until.date():
            newest, _ = read(store, layout.newest_part_key(day), NewestPart)
            yield read(store, layout.part_key(day, newest.digest), StoredPart)[0]
