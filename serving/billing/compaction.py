"""From a day's files in the warehouse to the day's part."""

import contextlib
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from registry.documents import digest
from serving.billing.day_events import SourceFile, load_day, sound_files, undamaged
from serving.billing.errors import BillingError
from serving.billing.gpu_time import GpuWeights, allocate
from serving.billing.part_events import usage_rows, write_no_events, write_part_events
from serving.billing.parts import (
    Input,
    StoredPart,
    files_digest,
    frozen_part,
    newest_part,
    store_part,
)
from serving.billing.pods import held_on, merged, read_report
from serving.billing.usage import Attention, DayPart, Orphan, PodInterval
from serving.warehouse import columns, layout
from serving.warehouse.duck import Session, session
from serving.warehouse.events import create_view
from serving.warehouse.files import Entry, Warehouse, file_sha256
from serving.warehouse.layout import day_folder

RULES: Final = 3
"""Counts up when the same files come to mean another part, so that open days are made again."""

_ORPHANS: Final = """
SELECT DISTINCT ON (request_id)
    request_id, admitted, customer, domain, served_model, pool, writer
FROM orphans ANTI JOIN events USING (request_id)
WHERE request_id IS NOT NULL
ORDER BY request_id, writer, admitted
"""


def day_part(warehouse: Warehouse, day: dt.date, weights: GpuWeights) -> DayPart:
    """Return the part of a UTC day, made again when the day's files or the weights changed.

    Raises:
        BillingError: Reports of pods contradict each other.
    """
    sources = _Sources.list(warehouse, day)
    files = files_digest(sources.marks())
    made_of = digest({"rules": RULES, "weights": weights.model_dump(), "files": files})
    newest = newest_part(warehouse, day)
    if newest is not None and newest.made_of == made_of:
        # One that is gone or damaged is made again.
        with contextlib.suppress(BillingError):
            return frozen_part(warehouse, day, newest.digest)
    with session(warehouse.scratch) as duck:
        if sources.marks():
            part, events = _make(duck, warehouse, day, weights, sources)
        else:
            part, events = _make_empty(duck, day, weights)
        return store_part(warehouse, part, events, made_of=made_of, files=files)


@dataclass(frozen=True)
class _Sources:
    """The day's files, by kind."""

    events: tuple[Entry, ...]
    orphans: tuple[Entry, ...]
    pods: tuple[Entry, ...]

    @classmethod
    def list(cls, warehouse: Warehouse, day: dt.date) -> "_Sources":
        return cls(
            events=warehouse.entries(day_folder(layout.EVENTS, day)),
            orphans=warehouse.entries(day_folder(layout.ORPHANS, day)),
            pods=warehouse.entries(day_folder(layout.PODS, day)),
        )

    def marks(self) -> dict[str, str]:
        return {one.key: one.mark for one in (*self.events, *self.orphans, *self.pods)}


def _make(
    duck: Session, warehouse: Warehouse, day: dt.date, weights: GpuWeights, sources: _Sources
) -> tuple[StoredPart, Path]:
    connection, folder = duck
    loaded = load_day(connection, day, _local(warehouse, sources.events))
    orphan_files, orphans, orphan_attention = _orphans(
        connection, _local(warehouse, sources.orphans)
    )
    pod_files = _local(warehouse, sources.pods)
    intervals, pod_attention = _intervals(pod_files)
    gpu, gpu_attention = allocate(
        connection, day, held_on(day, merged(intervals)), weights, orphans
    )
    events = folder / "events.parquet"
    write_part_events(connection, events)
    part = StoredPart(
        rules=RULES,
        day=day,
        weights=weights,
        inputs=tuple(
            Input(key=one.entry.key, sha256=one.sha256())
            for one in (*loaded.files, *orphan_files, *pod_files)
        ),
        events_sha256=file_sha256(events),
        pods_until=max((one.ended for one in intervals), default=None),
        attention=(*loaded.attention, *orphan_attention, *pod_attention, *gpu_attention),
        orphans=orphans,
        usage=usage_rows(connection, day),
        gpu=gpu,
    )
    return part, events


def _make_empty(duck: Session, day: dt.date, weights: GpuWeights) -> tuple[StoredPart, Path]:
    """Make what `_make` would of a day without files: its queries take longer than the rest."""
    connection, folder = duck
    events = folder / "events.parquet"
    write_no_events(connection, events)
    part = StoredPart(
        rules=RULES,
        day=day,
        weights=weights,
        inputs=(),
        events_sha256=file_sha256(events),
        pods_until=None,
        attention=(),
        orphans=(),
        usage=(),
        gpu=(),
    )
    return part, events


def _local(warehouse: Warehouse, entries: tuple[Entry, ...]) -> list[SourceFile]:
    paths = warehouse.files(entries)
    return [SourceFile(*pair) for pair in zip(entries, paths, strict=True)]


def _orphans(
    connection: duckdb.DuckDBPyConnection, files: list[SourceFile]
) -> tuple[list[SourceFile], tuple[Orphan, ...], list[Attention]]:
    sound, attention = sound_files(connection, files, columns.ORPHANS)
    sound, damaged = undamaged(connection, sound)
    create_view(connection, "orphans", [file.path for file in sound], columns.ORPHANS)
    found = tuple(
        Orphan(request_id.hex, admitted.replace(tzinfo=dt.UTC), *rest)
        for request_id, admitted, *rest in connection.execute(_ORPHANS).fetchall()
    )
    return sound, found, [*attention, *damaged]


def _intervals(files: Iterable[SourceFile]) -> tuple[list[PodInterval], list[Attention]]:
    intervals: list[PodInterval] = []
    attention: list[Attention] = []
    for file in files:
        found = read_report(file.path.read_bytes(), file.entry.key)
        if isinstance(found, Attention):
            attention.append(found)
        else:
            intervals += found
    return intervals, attention
