"""One look at the ledger: ship what is new, name orphans, say how far the writer is."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from registry import documents
from registry.errors import NotFoundError
from registry.store import ObjectStore, open_store
from serving.ledger.folder import (
    LedgerError,
    is_written,
    ledger_id,
    segment_number,
    segment_path,
    segment_paths,
    starts,
)
from serving.ledger.shipping.config import ShipperConfig
from serving.ledger.shipping.progress import processes
from serving.ledger.shipping.ship import IF_RESTORED, LedgerShipment
from serving.warehouse import layout, reading
from serving.warehouse.progress import SegmentProgress
from serving.warehouse.writers import WriterState, taken_over

_log: Final = logging.getLogger(__name__)


@dataclass
class _Held:
    """What one ledger's shipping goes on from."""

    store: ObjectStore
    shipment: LedgerShipment
    state: WriterState
    etag: str | None
    """Of the stored state."""


class Shipper:
    """Ships one ledger. It keeps what it knows of the store between looks."""

    def __init__(
        self, config: ShipperConfig, connect: Callable[[str], ObjectStore] = open_store
    ) -> None:
        self._config = config
        self._connect = connect
        self._held: _Held | None = None
        self._said: frozenset[str] = frozenset()

    def ship(self, *, last: bool = False) -> WriterState:
        """Ship everything that is in the ledger now.

        Args:
            last: The router has ended for good: say that the writer is finished, if it has.

        Returns:
            The writer's state as stored; `damaged` names what could not be shipped.

        Raises:
            LedgerError: There is no ledger.
            OSError: The ledger cannot be read.
            Exception: Whatever the store raises. Shipping again later is safe.
        """
        try:
            return self._ship(last=last)
        except BaseException:
            # A failed write may have happened all the same: what the store holds is read again.
            self._held = None
            raise

    def _ship(self, *, last: bool) -> WriterState:
        directory = self._config.ledger_dir
        identity = ledger_id(directory)
        if identity is None:
            raise LedgerError(f"no ledger in {directory} yet: the router makes it when it starts")
        held = self._hold(identity)
        # In this order: what is over now has nothing to add to the segments that are read next, and
        # what ended before now is in them.
        begun = starts(directory)
        written = is_written(directory)
        now = datetime.now(UTC)
        before = held.shipment.events
        problems = self._ship_segments(held.shipment)
        self._name_orphans(held.shipment, begun, written=written, damaged=problems)
        progress = held.shipment.progress
        shipped = held.shipment.events - before
        state = held.state.model_copy(
            update={
                "orphans": sum(segment.orphans or 0 for segment in progress.values()),
                "last_shipped": now if shipped else held.state.last_shipped,
                "shipped_until": held.state.shipped_until if problems else now,
                "finished": last and not written and not problems,
                "damaged": tuple(problems.values()),
            }
        )
        self._say(held.state, state, shipped)
        self._save(held, state)
        return state

    def _ship_segments(self, shipment: LedgerShipment) -> dict[int, str]:
        """Ship each segment; returns what is wrong, by segment."""
        paths = {segment_number(path): path for path in segment_paths(self._config.ledger_dir)}
        newest = max(paths, default=0)
        problems = {
            number: shipment.ship_segment(path, ended=number < newest)
            for number, path in paths.items()
        }
        # Names count up from 1, so a gap is a segment that was there.
        for number in (shipment.progress.keys() | set(range(1, newest))) - paths.keys():
            problems[number] = self._gone(number, newest, shipment.progress.get(number))
        return {number: said for number, said in sorted(problems.items()) if said is not None}

    def _gone(self, number: int, newest: int, shipped: SegmentProgress | None) -> str | None:
        path = segment_path(self._config.ledger_dir, number)
        if number > newest:
            return f"{path}: it was shipped and is gone; {IF_RESTORED}"
        if shipped is not None and shipped.whole:
            return None
        progress = "" if shipped is None else f", remove {shipped.key} from the warehouse"
        return (
            f"{path}: it is gone and was not shipped to its end; restore it from a backup of the "
            f"volume, or, when it is lost for good, put an empty file in its place{progress} and "
            "restart the shipper: what was not shipped of it is then not billed"
        )

    def _name_orphans(
        self,
        shipment: LedgerShipment,
        begun: list[int],
        *,
        written: bool,
        damaged: dict[int, str],
    ) -> None:
        newest = begun[-1] if begun else 0
        for process in processes(begun, shipment.progress.keys() | damaged.keys()):
            over = process.start < newest or (process.start == newest and not written)
            if over and damaged.keys().isdisjoint(process.segments):
                shipment.name_orphans(process)

    def _hold(self, identity: str) -> _Held:
        if self._held is None or self._held.state.ledger_id != identity:
            self._held = self._begin(identity)
        return self._held

    def _begin(self, identity: str) -> _Held:
        store = self._connect(self._config.warehouse_uri)
        writer = self._config.writer
        before, etag = _stored(store, writer)
        state = taken_over(before, writer, identity)
        for lost in state.lost:
            _log.error(
                "writer %s came back without ledger %s: what it held after %s is lost unless its "
                "volume is found",
                writer,
                lost.ledger_id,
                lost.shipped_until,
            )
        return _Held(store, LedgerShipment(store, writer, identity), state, etag)

    def _save(self, held: _Held, state: WriterState) -> None:
        held.etag = held.store.put(
            layout.writer_key(self._config.writer),
            documents.encode(state),
            if_match=held.etag,
            if_none_match=held.etag is None,
        )
        held.state = state

    def _say(self, before: WriterState, after: WriterState, shipped: int) -> None:
        if shipped or after.orphans != before.orphans:
            _log.info("shipped %d events; %d orphans so far", shipped, after.orphans)
        for problem in after.damaged:
            if problem not in self._said:
                _log.error("%s", problem)
        self._said = frozenset(after.damaged)


def _stored(store: ObjectStore, writer: str) -> tuple[WriterState | None, str | None]:
    try:
        return reading.read(store, layout.writer_key(writer), WriterState)
    except NotFoundError:
        return None, None
