"""The exporter: what it shows of a registry and a warehouse, and what it survives."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World, serving

from registry import documents
from registry import layout as registry_layout
from registry.errors import RegistryError
from registry.names import Version
from registry.pointer import rollback
from serving.billing.gpu_time import UNCALIBRATED
from serving.billing.parts import StoredPart, newest_part, store_part
from serving.billing.usage import Attention, Orphan
from serving.exporter.billing import read_billing
from serving.exporter.config import ExporterConfig
from serving.exporter.server import Exporter, application
from serving.warehouse import layout
from serving.warehouse.files import file_sha256, open_warehouse
from serving.warehouse.writers import LostLedger, WriterState, taken_over

_DAY = dt.date(2026, 11, 3)
_SHIPPED = dt.datetime(2026, 11, 25, 8, tzinfo=dt.UTC)
_LOST = LostLedger(ledger_id="0c", last_shipped=None, shipped_until=None)
_ORPHAN = Orphan(
    "0" * 32, _SHIPPED, "customer-bank-A", "bank-ledger", "bank-ledger-v1.0", "slm", "router-0"
)


@dataclass
class Warehouse:
    """Objects as shippers and billing jobs leave them."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.warehouse = open_warehouse(f"file://{self.root}", self.root.parent / "cache")
        self.store = self.warehouse.store

    def writer(self, name: str, **changes: Any) -> None:
        began = taken_over(None, name, "0a1b").model_copy(update={"shipped_until": _SHIPPED})
        state = WriterState.model_validate(began.model_dump() | changes)
        self.store.put(layout.writer_key(name), documents.encode(state))

    def part(self, day: dt.date, *kinds: str, orphans: int = 0) -> None:
        self._part(day, kinds * 9, 99)
        self._part(day, kinds, orphans)

    def _part(self, day: dt.date, kinds: tuple[str, ...], orphans: int) -> None:
        """A part; it takes the place of the one before it."""
        events = self.root.parent / "events.parquet"
        events.touch()
        part = StoredPart(
            rules=1,
            day=day,
            weights=UNCALIBRATED,
            inputs=(),
            events_sha256=file_sha256(events),
            pods_until=None,
            attention=tuple(Attention(kind, "w", "d", 7) for kind in kinds),
            orphans=(_ORPHAN,) * orphans,
            usage=(),
            gpu=(),
        )
        store_part(self.warehouse, part, events, made_of="sha256:0b", files="sha256:0c")

    def damage_part(self, day: dt.date) -> None:
        newest = newest_part(self.warehouse, day)
        assert newest is not None
        self.store.put(layout.part_key(day, newest.digest), b'{"attention": "?"}')

    def close(self, month: str) -> None:
        # Only its name is read.
        self.store.put(layout.closed_key(month), b"{}", if_none_match=True)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


def _exporter(world: World, warehouse: Warehouse) -> Exporter:
    values = {
        "listen": {"port": 0},
        "registry_uri": world.registry_uri,
        "warehouse_uri": f"file://{warehouse.root}",
    }
    return Exporter(ExporterConfig.model_validate(values))


def _shown(exporter: Exporter) -> dict[str, float]:
    return dict(_samples(exporter.metrics().decode()))


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, flags=re.MULTILINE):
        yield name, float(value)


def test_shows_live_releases_and_the_verdicts_on_them(world: World, warehouse: Warehouse) -> None:
    world.go_live("bank-ledger", "v1.0")
    world.go_live("bank-ledger", "v1.1")
    world.evaluate(world.publish("bank-ledger", "v1.2"), passed=False)
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    assert found['pipeline_release_held{domain="bank-ledger",version="v1.1"}'] == 0
    judged = {
        (version, status)
        for version, status in re.findall(
            r'pipeline_gate_check_timestamp_seconds\{check="domain-tests",domain="bank-ledger",'
            r'status="(\S+)",version="(\S+)"\}',
            "\n".join(found),
        )
    }
    assert judged == {("passed", "v1.0"), ("passed", "v1.1"), ("failed", "v1.2")}


def test_a_rollback_shows_as_held(world: World, warehouse: Warehouse) -> None:
    world.go_live("bank-ledger", "v1.0")
    world.go_live("bank-ledger", "v1.1")
    rollback(world.store, "bank-ledger", to=Version.parse("v1.0"), by="b", reason="worse answers")
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    held = {name: value for name, value in _shown(exporter).items() if "release_held" in name}
    assert held == {'pipeline_release_held{domain="bank-ledger",version="v1.0"}': 1}


def test_a_damaged_domain_hides_itself_only(world: World, warehouse: Warehouse) -> None:
    world.go_live("bank-ledger", "v1.0")
    world.store.put(registry_layout.pointer("tax"), b"{")
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    assert any('domain="bank-ledger"' in name for name in found)
    assert not any('domain="tax"' in name for name in found)


def test_shows_how_far_writers_have_shipped(world: World, warehouse: Warehouse) -> None:
    warehouse.writer("router-0")
    warehouse.writer("router-1", shipped_until=None, damaged=("segment 3: line 5",))
    warehouse.writer("router-2", finished=True, lost=(_LOST,))
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    name = 'pipeline_ledger_{}{{writer="{}"}}'
    assert found[name.format("shipped_timestamp_seconds", "router-0")] == _SHIPPED.timestamp()
    # Never: as old as can be, so that the alert fires.
    assert found[name.format("shipped_timestamp_seconds", "router-1")] == 0
    assert name.format("shipped_timestamp_seconds", "router-2") not in found
    assert found[name.format("damaged_segments", "router-1")] == 1
    assert found[name.format("lost_volumes", "router-2")] == 1


def test_keys_of_a_newer_shipper_are_passed_over(warehouse: Warehouse) -> None:
    warehouse.writer("router-0", lost=(_LOST,))
    key = layout.writer_key("router-0")
    stored = json.loads(warehouse.store.get(key).data)
    stored["lost"][0]["volume"] = "data-0"
    warehouse.store.put(key, json.dumps(stored | {"backlog": 3}).encode())
    assert read_billing(warehouse.store).lost == {"router-0": 1}
    del stored["damaged"]
    warehouse.store.put(key, json.dumps(stored).encode())
    with pytest.raises(RegistryError, match=r"writers/router-0\.json: damaged: Field required"):
        read_billing(warehouse.store)


def test_counts_findings_and_orphans_of_open_months_only(
    world: World, warehouse: Warehouse
) -> None:
    warehouse.part(dt.date(2026, 10, 31), "clock", orphans=5)
    warehouse.part(_DAY, "clock", "clock", "unknown-customer", orphans=2)
    warehouse.part(_DAY + dt.timedelta(days=1), "clock")
    warehouse.close("2026-10")
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    assert found['pipeline_billing_attention{kind="clock"}'] == 3
    assert found['pipeline_billing_attention{kind="unknown-customer"}'] == 1
    assert found["pipeline_billing_orphans"] == 2


@settings(max_examples=20)
@given(closed=st.integers(0, 40))
def test_billed_until_is_the_end_of_the_newest_closed_month(
    tmp_path_factory: pytest.TempPathFactory, closed: int
) -> None:
    warehouse = Warehouse(tmp_path_factory.mktemp("warehouse"))
    first = 2024 * 12 + 10
    warehouse.part(dt.date(2024, 11, 17))
    for month in range(first, first + closed):
        warehouse.close(f"{month // 12}-{month % 12 + 1:02}")
    after = first + closed
    expected = dt.datetime(after // 12, after % 12 + 1, 1, tzinfo=dt.UTC)
    assert read_billing(warehouse.store).closed_until == expected


def test_an_empty_warehouse_is_billed_until_nothing(warehouse: Warehouse) -> None:
    health = read_billing(warehouse.store)
    assert (health.closed_until, health.orphans, dict(health.attention)) == (None, 0, {})


def test_what_was_known_stays_when_a_store_cannot_be_read(
    world: World, warehouse: Warehouse
) -> None:
    warehouse.part(_DAY, orphans=2)
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    read = 'pipeline_exporter_read_timestamp_seconds{source="warehouse"}'
    first = _shown(exporter)[read]
    warehouse.damage_part(_DAY)
    exporter.refresh()
    found = _shown(exporter)
    assert found["pipeline_billing_orphans"] == 2
    assert found[read] == first
    assert found['pipeline_exporter_read_timestamp_seconds{source="registry"}'] > first


async def test_answers_before_it_has_read_anything(world: World, warehouse: Warehouse) -> None:
    exporter = _exporter(world, warehouse)
    async with serving(application(exporter)) as url, aiohttp.ClientSession() as session:
        for path in ("/healthz", "/metrics"):
            async with session.get(url + path) as response:
                assert response.status == 200
                text = await response.text()
        assert dict(_samples(text)) == {}
