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

from registry import layout
from registry.names import Version
from registry.pointer import rollback
from registry.store import open_store
from serving.exporter.billing import read_billing
from serving.exporter.config import ExporterConfig
from serving.exporter.server import Exporter, application

_DAY = dt.date(2026, 11, 3)


@dataclass
class Warehouse:
    """Objects as shippers and billing jobs leave them; only the keys that the exporter reads."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.store = open_store(f"file://{self.root}")

    def put(self, key: str, values: dict[str, Any]) -> None:
        self.store.put(key, json.dumps(values).encode())

    def writer(self, name: str, **changes: Any) -> None:
        values = {
            "writer": name,
            "ledger_id": "0a1b",
            "shipped_until": "2026-11-25T08:00:00Z",
            "finished": False,
            "damaged": [],
            "lost": [],
        }
        self.put(f"writers/{name}.json", values | changes)

    def part(self, day: dt.date, *kinds: str, orphans: int = 0) -> None:
        found = [{"kind": kind, "where": "w", "detail": "d", "requests": 7} for kind in kinds]
        folder = f"parts/day={day}/"
        self.put(f"{folder}part.json", {"digest": "sha256:0a", "made_of": "sha256:0b"})
        self.put(f"{folder}0a.json", {"attention": found, "orphans": [{}] * orphans, "usage": []})
        # A part that a later one replaced.
        self.put(f"{folder}0c.json", {"attention": found * 9, "orphans": [{}] * 99})


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
    world.store.put(layout.pointer("tax"), b"{")
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    assert any('domain="bank-ledger"' in name for name in found)
    assert not any('domain="tax"' in name for name in found)


def test_shows_how_far_writers_have_shipped(world: World, warehouse: Warehouse) -> None:
    warehouse.writer("router-0")
    warehouse.writer("router-1", shipped_until=None, damaged=["segment 3: line 5"])
    warehouse.writer("router-2", finished=True, lost=[{"ledger_id": "0c"}])
    exporter = _exporter(world, warehouse)
    exporter.refresh()
    found = _shown(exporter)
    at = dt.datetime(2026, 11, 25, 8, tzinfo=dt.UTC).timestamp()
    name = 'pipeline_ledger_{}{{writer="{}"}}'
    assert found[name.format("shipped_timestamp_seconds", "router-0")] == at
    # Never: as old as can be, so that the alert fires.
    assert found[name.format("shipped_timestamp_seconds", "router-1")] == 0
    assert name.format("shipped_timestamp_seconds", "router-2") not in found
    assert found[name.format("damaged_segments", "router-1")] == 1
    assert found[name.format("lost_volumes", "router-2")] == 1


def test_counts_findings_and_orphans_of_open_months_only(
    world: World, warehouse: Warehouse
) -> None:
    warehouse.part(dt.date(2026, 10, 31), "clock", orphans=5)
    warehouse.part(_DAY, "clock", "clock", "unknown-customer", orphans=2)
    warehouse.part(_DAY + dt.timedelta(days=1), "clock")
    warehouse.put("closed/2026-10.json", {})
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
        warehouse.put(f"closed/{month // 12}-{month % 12 + 1:02}.json", {})
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
    warehouse.put(f"parts/day={_DAY}/0a.json", {"attention": "?"})
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
