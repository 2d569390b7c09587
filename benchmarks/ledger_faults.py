"""What the ledger benchmark does to the ledger and its shipper."""

import os
import random
import re
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from registry.store import ObjectStore, StoredObject, open_store
from serving.ledger import records
from serving.ledger.folder import ledger_id, segment_number, segment_paths
from serving.ledger.lines import sound_records
from serving.ledger.shipping.config import ShipperConfig
from serving.ledger.shipping.shipper import Shipper
from serving.warehouse import layout
from serving.warehouse.progress import SegmentProgress

# The smallest block that ext4 has: what a power cut leaves unwritten is whole blocks.
_BLOCK: Final = 1024


@dataclass(frozen=True)
class Death:
    """When a process dies."""

    step: int
    """Number of the write to the store, from 1."""
    after: bool
    """Whether that write still takes effect."""


class FatalStore:
    """An object store at one of whose writes its process dies."""

    def __init__(self, store: ObjectStore, death: Death, on_death: Callable[[], None]) -> None:
        """Wrap a store.

        Args:
            store: The store.
            death: When to die.
            on_death: Ends the process, or raises what stands for that.
        """
        self._store, self._left, self._after = store, death.step, death.after
        self._on_death = on_death

    def get(self, key: str) -> StoredObject:
        """As the store does."""
        return self._store.get(key)

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        """As the store does, or die."""
        return self._write(lambda: self._store.put(key, data, **conditions))

    def put_file(self, key: str, path: Path, **conditions: Any) -> str:
        """As the store does, or die."""
        return self._write(lambda: self._store.put_file(key, path, **conditions))

    def get_to_file(self, key: str, path: Path) -> None:
        """As the store does."""
        self._store.get_to_file(key, path)

    def list(self, prefix: str) -> list[str]:
        """As the store does."""
        return self._store.list(prefix)

    def marks(self, prefix: str) -> dict[str, str]:
        """As the store does."""
        return self._store.marks(prefix)

    def _write(self, write: Callable[[], str]) -> str:
        self._left -= 1
        if self._left == 0 and not self._after:
            self._on_death()
        try:
            return write()
        finally:
            # Also when the object was there already.
            if self._left == 0:
                self._on_death()


def ship_until_killed(config: ShipperConfig, death: Death, ready: Event, go: Event) -> None:
    """Ship again and again, until the given write; what a process of its own runs."""
    shipper = Shipper(config, lambda uri: FatalStore(open_store(uri), death, _kill_own_process))
    ready.set()
    go.wait()
    while True:
        shipper.ship()


def _kill_own_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def damage_tail(
    ledger: Path, warehouse: Path, writer: str, relied_on: Collection[str], dice: random.Random
) -> str:
    """Do to the newest segment what a power cut may do: lose what was not synced.

    What is known to be synced stays: every record that a client has relied on (the intent of a
    request whose answer began, the event of one whose answer ended), what precedes the last of
    them, and what the shipper has shipped, as it syncs before it ships.

    Args:
        ledger: The ledger's directory.
        warehouse: The warehouse's directory.
        writer: Name of the writer.
        relied_on: `intent <id>` and `event <id>` of what clients have received.
        dice: Makes the choices.

    Returns:
        What was done; empty for nothing.
    """
    path = segment_paths(ledger)[-1]
    size = path.stat().st_size
    synced = max(_relied_on(path, relied_on), _shipped(ledger, warehouse, writer, path))
    if synced >= size:
        return ""
    how = dice.choice(["cut", "zeros", "garbage", "gap"])
    with path.open("r+b") as stream:
        if how == "gap":
            # The first block that holds no synced byte.
            block = -(-synced // _BLOCK) * _BLOCK
            if block + _BLOCK > size:
                return ""
            stream.seek(block)
            stream.write(b"\0" * _BLOCK)
            return how
        stream.truncate(dice.randint(synced, size))
        stream.seek(0, os.SEEK_END)
        if how == "zeros":
            stream.write(b"\0" * dice.randint(1, 8 * _BLOCK))
        if how == "garbage":
            stream.write(dice.randbytes(dice.randint(1, 500)))
    return how


def _relied_on(path: Path, relied_on: Collection[str]) -> int:
    last = 0
    with path.open("rb") as stream:
        for end, record in sound_records(stream, 0, path.stat().st_size):
            kind = "event" if isinstance(record, records.Event) else "intent"
            if f"{kind} {record.request_id}" in relied_on:
                last = end
    return last


def _shipped(ledger: Path, warehouse: Path, writer: str, segment: Path) -> int:
    """End of what was shipped of a segment, by its progress and by the names of its ranges."""
    identity = ledger_id(ledger) or ""
    number = segment_number(segment)
    ranges = re.compile(rf"{writer}-{identity}-{number:010d}-\d+-(\d+)-[0-9a-f]{{8}}\.parquet")
    found = [
        match
        for path in warehouse.glob(f"{layout.EVENTS}*/*")
        if (match := ranges.match(path.name))
    ]
    ends = [int(match[1]) for match in found]
    progress = warehouse / layout.shipped_key(writer, identity, number)
    if progress.exists():
        ends.append(SegmentProgress.model_validate_json(progress.read_bytes()).bytes)
    return max(ends, default=0)
