"""Day parts as they are stored.

A part is a JSON document under the digest of its bytes, and next to it the events that it sums, as
Parquet, whose digest the document has. A closed month names its parts by digest and finds them
unchanged, whatever arrives later; writing one again writes the same bytes, and mends what was
damaged. `part.json` names the newest part, and the state of the files that it was made of.
"""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from registry import documents
from registry.documents import Document, decode, encode
from registry.errors import NotFoundError, RegistryError
from serving.billing.errors import BillingError
from serving.billing.gpu_time import GpuWeights
from serving.billing.usage import Attention, DayPart, GpuRow, Orphan, UsageRow
from serving.warehouse.files import Warehouse, file_sha256
from serving.warehouse.layout import (
    EVENTS,
    ORPHANS,
    PODS,
    day_folder,
    newest_part_key,
    part_events_key,
    part_key,
    part_of_key,
)

SOURCES: Final = (EVENTS, ORPHANS, PODS)
"""Folders of the files that a part is made of."""


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
    events_sha256: str
    """`sha256:…` of the file of events."""
    pods_until: dt.datetime | None
    """End of the last interval of a pod."""
    attention: tuple[Attention, ...]
    orphans: tuple[Orphan, ...]
    usage: tuple[UsageRow, ...]
    gpu: tuple[GpuRow, ...]


class NewestPart(Document):
    """`parts/day=<day>/part.json`."""

    digest: str
    made_of: str
    """Digest of rules, weights and the marks of the day's files."""


def store_part(
    warehouse: Warehouse, part: StoredPart, events: Path, *, made_of: str, files: str
) -> DayPart:
    """Store a part and its events, and make it the newest of its day.

    Args:
        warehouse: Where to.
        part: The document.
        events: The file of events.
        made_of: As in `NewestPart`.
        files: `files_digest` of what it was made of.
    """
    data = encode(part)
    digest = _digest(data)
    # The document comes after its events: whoever finds it finds them.
    warehouse.store.put_file(part_events_key(part.day, digest), events)
    warehouse.store.put(part_key(part.day, digest), data)
    warehouse.create(part_of_key(part.day, digest, files), b"")
    newest = NewestPart(digest=digest, made_of=made_of)
    warehouse.store.put(newest_part_key(part.day), encode(newest))
    return _as_day_part(part, digest)


def newest_part(warehouse: Warehouse, day: dt.date) -> NewestPart | None:
    """Which part of a day is the newest; None when none was made yet, or nothing readable says."""
    key = newest_part_key(day)
    try:
        return decode(warehouse.store.get(key).data, NewestPart, key)
    except RegistryError:
        return None


def files_digest(marks: Mapping[str, str]) -> str:
    """Digest of the state of a day's files, given their keys and marks."""
    return documents.digest(dict(marks))


def unchanged(marks: Mapping[str, str], billed: Mapping[dt.date, str]) -> set[dt.date]:
    """Return the days whose files are those that a part was made of. Nothing is read.

    Args:
        marks: The warehouse's keys and marks of `SOURCES` and parts.
        billed: Digest of a part, by day.
    """
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for key, mark in marks.items():
        by_folder[f"{key.rpartition('/')[0]}/"][key] = mark

    def files(day: dt.date) -> dict[str, str]:
        folders = (by_folder.get(day_folder(source, day), {}) for source in SOURCES)
        return {key: mark for folder in folders for key, mark in folder.items()}

    return {
        day
        for day, part in billed.items()
        if part_of_key(day, part, files_digest(files(day))) in marks
    }


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
            f"{error}: the part of {day} is gone; restore it: a closed month may name it"
        ) from error
    if _digest(data) != digest:
        raise BillingError(
            f"{key}: changed since it was written (its digest is {_digest(data)}); restore it: a "
            "closed month may name it"
        )
    try:
        return decode(data, StoredPart, key)
    except RegistryError as error:
        raise BillingError(f"not a part as this version reads it: {error}") from error


def events_file(warehouse: Warehouse, day: dt.date, digest: str) -> Path:
    """Return a local file of the events of a part.

    Raises:
        BillingError: There is no such part, its events are missing, or they are not those that it
            was written with.
    """
    part = read_stored_part(warehouse, day, digest)
    key = part_events_key(day, digest)
    entries = warehouse.entries(key)
    if not entries:
        raise BillingError(f"{key}: the events of this part are gone; restore them")
    [path] = warehouse.files(entries)
    if file_sha256(path) != part.events_sha256:
        raise BillingError(
            f"{key}: changed since it was written (its digest is {file_sha256(path)}, not "
            f"{part.events_sha256}); restore it"
        )
    return path


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _as_day_part(part: StoredPart, digest: str) -> DayPart:
    return DayPart(
        part.day, digest, part.usage, part.gpu, part.orphans, part.attention, part.pods_until
    )
