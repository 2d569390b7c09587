"""Day parts as they are stored.

A part is a JSON document under the digest of its bytes, and next to it the events that it sums, as
Parquet. Both are create-only: a closed month names its parts by digest and finds them unchanged,
whatever arrives later. `part.json` names the newest part, and the state of the files that it was
made of.
"""

import datetime as dt
import hashlib
from pathlib import Path
from typing import Literal

from registry.documents import Document, decode, encode
from registry.errors import NotFoundError
from serving.billing.errors import BillingError
from serving.billing.gpu_time import GpuWeights
from serving.billing.usage import Attention, DayPart, GpuRow, Orphan, UsageRow
from serving.warehouse.files import Warehouse
from serving.warehouse.layout import newest_part_key, part_events_key, part_key


class Input(Document):
    """A file that a part was made of."""

    key: str
    sha256: str


class StoredPart(Document):
    """`parts/day=<day>/<sha256>.json`. Its digest is that of its bytes, so it is not in it."""

    schema_version: Literal[1] = 1
    rules: int
    day: dt.date
    weights: GpuWeights
    inputs: tuple[Input, ...]
    attention: tuple[Attention, ...]
    orphans: tuple[Orphan, ...]
    usage: tuple[UsageRow, ...]
    gpu: tuple[GpuRow, ...]


class NewestPart(Document):
    """`parts/day=<day>/part.json`."""

    digest: str
    made_of: str
    """Digest of rules, weights and the marks of the day's files."""


def store_part(warehouse: Warehouse, part: StoredPart, events: Path, made_of: str) -> DayPart:
    """Store a part and its events, and make it the newest of its day."""
    data = encode(part)
    digest = _digest(data)
    # The document comes after its events: whoever finds it finds them.
    warehouse.create(part_events_key(part.day, digest), events)
    warehouse.create(part_key(part.day, digest), data)
    newest = NewestPart(digest=digest, made_of=made_of)
    warehouse.store.put(newest_part_key(part.day), encode(newest))
    return _as_day_part(part, digest)


def newest_part(warehouse: Warehouse, day: dt.date) -> NewestPart | None:
    """Which part of a day is the newest; None when none was made yet.

    Raises:
        RegistryError: `part.json` is damaged.
    """
    key = newest_part_key(day)
    try:
        stored = warehouse.store.get(key)
    except NotFoundError:
        return None
    return decode(stored.data, NewestPart, key)


def frozen_part(warehouse: Warehouse, day: dt.date, digest: str) -> DayPart:
    """Return the part with this digest, such as a closed month names.

    Raises:
        BillingError: There is none, or its bytes are not those of the digest.
    """
    return _as_day_part(read_stored_part(warehouse, day, digest), digest)


def read_stored_part(warehouse: Warehouse, day: dt.date, digest: str) -> StoredPart:
    """Return the document of a part; as `frozen_part`."""
    key = part_key(day, digest)
    try:
        data = warehouse.store.get(key).data
    except NotFoundError as error:
        raise BillingError(
            f"{error}: the part of {day} is gone; restore it, or when no closed month names it, "
            f"remove {newest_part_key(day)}, and it is made again"
        ) from error
    if _digest(data) != digest:
        raise BillingError(
            f"{key}: changed since it was written (its digest is {_digest(data)}); restore it, or "
            f"when no closed month names it, remove it and {newest_part_key(day)}, and it is made "
            "again"
        )
    return decode(data, StoredPart, key)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _as_day_part(part: StoredPart, digest: str) -> DayPart:
    return DayPart(part.day, digest, part.usage, part.gpu, part.orphans, part.attention)
