"""What the routers recorded: on their disks, and in the warehouse."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import duckdb

from registry.store import ObjectStore
from serving.ledger.folder import segment_paths
from serving.ledger.reader import read_segment
from serving.ledger.records import Event
from serving.warehouse.layout import EVENTS


@dataclass(frozen=True)
class Recorded:
    """Request ids, with how often each is there."""

    intents: Counter[str]
    events: Counter[str]

    @property
    def orphans(self) -> set[str]:
        """Requests that began and have no end."""
        return set(self.intents) - set(self.events)

    @property
    def repeated(self) -> list[str]:
        """Requests that ended more than once."""
        return [request for request, times in self.events.items() if times > 1]


def read_disks(folder: Path) -> Recorded:
    """What the routers' ledgers hold, on whichever disks of a folder they are."""
    recorded = Recorded(Counter(), Counter())
    for ledger in folder.glob("*/ledger"):
        for segment in segment_paths(ledger):
            for record in read_segment(segment):
                kind = recorded.events if isinstance(record, Event) else recorded.intents
                kind[record.request_id] += 1
    return recorded


def read_shipped(warehouse: ObjectStore) -> Counter[str]:
    """Request ids of the events that are in the warehouse."""
    shipped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, key in enumerate(warehouse.list(EVENTS)):
            path = Path(folder) / f"{number}.parquet"
            warehouse.get_to_file(key, path)
            rows = duckdb.read_parquet(str(path)).select("request_id").fetchall()
            shipped.update(request.hex for (request,) in rows)
    return shipped
