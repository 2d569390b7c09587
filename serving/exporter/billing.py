"""What the warehouse says of the way from the ledger to closed months.

Only what is shown is read, and unknown keys are passed over: shippers and billing jobs may be
newer than the exporter.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.warehouse.layout import day_folder

_CLOSED: Final = re.compile(r"closed/(\d{4})-(\d{2})\.json")
_PART: Final = re.compile(r"parts/day=(\d{4}-\d{2}-\d{2})/part\.json")
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


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Writer(_Read):
    writer: str
    shipped_until: dt.datetime | None
    finished: bool
    damaged: tuple[object, ...]
    lost: tuple[object, ...]


class _NewestPart(_Read):
    digest: str


class _Finding(_Read):
    kind: str


class _Part(_Read):
    attention: tuple[_Finding, ...]
    orphans: tuple[object, ...]


def read_billing(store: ObjectStore) -> BillingHealth:
    """Read writers, closed months and the parts of the open ones.

    Raises:
        RegistryError: An object cannot be read; names it.
        OSError: The store is away.
    """
    writers = [_read(store, key, _Writer) for key in store.list("writers/")]
    part_days = _part_days(store)
    closed_until = _closed_until(store.list("closed/"), part_days)
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
    matches = (_PART.fullmatch(key) for key in store.list("parts/"))
    return [dt.date.fromisoformat(match[1]) for match in matches if match]


def _closed_until(closed: Iterable[str], part_days: Iterable[dt.date]) -> dt.datetime | None:
    months = [(int(match[1]), int(match[2])) for match in map(_CLOSED.fullmatch, closed) if match]
    if months:
        year, month = max(months)
        return dt.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=dt.UTC)
    first = min(part_days, default=None)
    return None if first is None else dt.datetime(first.year, first.month, 1, tzinfo=dt.UTC)


def _open_parts(
    store: ObjectStore, days: Iterable[dt.date], closed_until: dt.datetime | None
) -> Iterator[_Part]:
    for day in days:
        if closed_until is None or day >= closed_until.date():
            folder = day_folder("parts", day)
            newest = _read(store, f"{folder}part.json", _NewestPart)
            yield _read(store, f"{folder}{newest.digest.removeprefix('sha256:')}.json", _Part)


_Model = TypeVar("_Model", bound=_Read)


def _read(store: ObjectStore, key: str, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(store.get(key).data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise RegistryError(f"{key}: {place}: {first['msg']}") from error
