"""Samples of counters in the warehouse: created once, one object for each source and moment."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from registry import documents
from registry.documents import Document
from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.reconciliation.coverage import Reading
from serving.reconciliation.errors import ReconciliationError
from serving.warehouse.layout import COUNTERS, day_folder, sample_key, source_and_time

_PARALLEL: Final = 16


class ServerSample(Document):
    """One server at one moment."""

    server: str
    """`address:port`."""
    ended: dt.datetime
    """When it had answered, or was given up."""
    up: bool
    reason: str = ""
    """Why it gave no counters; empty when it did."""
    started: dt.datetime | None = None
    """Start of its process; None where it does not say."""
    counters: dict[str, int] = Field(default_factory=dict)


class Sample(Document):
    """All servers of a source at one moment."""

    schema_version: Literal[1] = 1
    source: str
    at: dt.datetime
    """When the first server was asked."""
    servers: tuple[ServerSample, ...]


@dataclass(frozen=True)
class Moments:
    """When a source was sampled."""

    began: dt.datetime
    ended: dt.datetime
    samples: int


def write_sample(store: ObjectStore, sample: Sample) -> str:
    """Store a sample and return its key.

    Raises:
        PreconditionFailedError: There is one of the same source and moment.
    """
    key = sample_key(sample.source, sample.at)
    store.put(key, documents.encode(sample), if_none_match=True)
    return key


def read_samples(
    store: ObjectStore, source: str, began: dt.datetime, ended: dt.datetime
) -> list[Sample]:
    """Samples of a source from one time to another, both included, oldest first.

    Raises:
        ReconciliationError: One cannot be read; names its key.
    """
    keys = [
        key
        for day in days(began, ended)
        for key, at in _keys(store, day_folder(COUNTERS, day), source)
        if began <= at <= ended
    ]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda key: _read(store, key), keys))


def sampled(store: ObjectStore, source: str) -> Moments | None:
    """When a source was sampled at all; None when it never was."""
    moments = sorted(at for _, at in _keys(store, COUNTERS, source))
    return Moments(moments[0], moments[-1], len(moments)) if moments else None


def readings(samples: list[Sample]) -> list[Reading]:
    """Readings of the servers that answered."""
    return [
        Reading(
            server=server.server,
            at=sample.at,
            ended=server.ended,
            started=server.started,
            counters=server.counters,
        )
        for sample in samples
        for server in sample.servers
        if server.up
    ]


def days(began: dt.datetime, ended: dt.datetime) -> list[dt.date]:
    """UTC days that a time lies in, both ends included."""
    first, last = began.astimezone(dt.UTC).date(), ended.astimezone(dt.UTC).date()
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def _keys(store: ObjectStore, prefix: str, source: str) -> list[tuple[str, dt.datetime]]:
    found = []
    for key in store.list(prefix):
        named = source_and_time(key)
        if named is not None and named[0] == source:
            found.append((key, named[1]))
    return found


def _read(store: ObjectStore, key: str) -> Sample:
    try:
        return documents.read(store, key, Sample)[0]
    except RegistryError as error:
        raise ReconciliationError(
            f"{error}: move the sample away, the ones beside it are enough"
        ) from error
