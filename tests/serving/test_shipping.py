"""Shipping: what reaches the warehouse when the shipper, the store, the volume or a page fails."""

import asyncio
import datetime as dt
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_records import EVENT, INTENT, V1_EVENT, V1_INTENT
from router_process import started_router
from stand_in_vllm import StandInVllm
from world import World, running_sync, serving, until

from benchmarks.ledger_faults import Death, FatalStore
from registry.store import ObjectStore, open_store
from serving.ledger import Event, Intent, LedgerError
from serving.ledger.folder import ledger_id, segment_paths
from serving.ledger.ids import new_request_id
from serving.ledger.records import encode
from serving.ledger.segments import SegmentFile
from serving.ledger.shipping import ship
from serving.ledger.shipping.__main__ import attempt
from serving.ledger.shipping.config import ShipperConfig
from serving.ledger.shipping.shipper import Shipper
from serving.warehouse import layout
from serving.warehouse.columns import EVENTS, ORPHANS
from serving.warehouse.missing import missing_files
from serving.warehouse.writers import WriterState

NOON = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)


def an_id(at: dt.datetime = NOON) -> str:
    return new_request_id(int(at.timestamp() * 1000))


def intent(at: dt.datetime = NOON) -> Intent:
    return replace(INTENT, request_id=an_id(at), ts=at.isoformat())


def event(of: Intent | None = None, **changes: Any) -> Event:
    of = of or intent()
    ended = dt.datetime.fromisoformat(of.ts) + dt.timedelta(seconds=1)
    return replace(EVENT, request_id=of.request_id, ts=ended.isoformat(), **changes)


def lines(*records: Event | Intent) -> bytes:
    return b"".join(encode(record) for record in records)


@dataclass
class Place:
    """A ledger, a warehouse, and a shipper between them."""

    root: Path
    ledger: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = self.root / "ledger"

    @property
    def config(self) -> ShipperConfig:
        return ShipperConfig(
            ledger_dir=self.ledger,
            writer="local-router",
            warehouse_uri=f"file://{self.root}/warehouse",
            interval_s=0.05,
        )

    def writing(self, *, max_bytes: int = 10**9) -> SegmentFile:
        """A router's end of the ledger; it is running until it is closed."""
        return SegmentFile(self.ledger, max_bytes=max_bytes)

    def wrote(self, *records: Event | Intent) -> Path:
        """A router that wrote these and ended; returns its segment."""
        segment = self.writing()
        segment.append(lines(*records))
        segment.close()
        return segment_paths(self.ledger)[-1]

    def ship(self, **options: Any) -> WriterState:
        """Ship as a shipper that was just started."""
        return Shipper(self.config).ship(**options)

    def keys(self, kind: str) -> list[str]:
        return open_store(self.config.warehouse_uri).list(f"{kind}/")

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Rows of every file, duplicates included."""
        if not self.keys(kind):
            return []
        with duckdb.connect() as connection:
            found = connection.read_parquet(f"{self.root}/warehouse/{kind}/*/*.parquet")
            return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def ids(self, kind: str = "events") -> list[str]:
        return sorted(row["request_id"].hex for row in self.rows(kind))

    def state(self) -> WriterState:
        path = self.root / "warehouse" / layout.writer_key("local-router")
        return WriterState.model_validate_json(path.read_bytes())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_event_becomes_a_row(place: Place) -> None:
    admitted = intent()
    ended = event(
        admitted,
        server="vllm-0",
        attempts=2,
        experiment="v1.3/b",
        wasted_pool="slm",
        wasted_input_tokens=11,
        wasted_output_tokens=None,
    )
    place.wrote(admitted, ended)
    state = place.ship()
    (row,) = place.rows("events")
    assert row["request_id"].hex == admitted.request_id
    assert row["admitted"] == NOON.replace(tzinfo=None)
    assert row["ended"] == NOON.replace(tzinfo=None) + dt.timedelta(seconds=1)
    assert (row["customer"], row["domain"]) == ("customer-bank-A", "bank-ledger")
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (7, None, 3)
    assert (row["latency_us"], row["ttft_us"], row["stream"]) == (12_500, 3_250, False)
    assert (row["server"], row["attempts"], row["experiment"]) == ("vllm-0", 2, "v1.3/b")
    assert (row["wasted_pool"], row["wasted_input_tokens"]) == ("slm", 11)
    assert (row["wasted_cached_tokens"], row["wasted_output_tokens"]) == (0, None)
    assert (row["writer"], row["status"], row["error"]) == ("local-router", 200, None)
    (key,) = place.keys("events")
    begin, end = 0, len(lines(admitted, ended))
    name = f"local-router-{state.ledger_id}-{1:010d}-{begin:012d}-{end:012d}"
    assert re.fullmatch(rf"events/day=2026-11-03/{name}-[0-9a-f]{{8}}\.parquet", key)


@pytest.mark.parametrize(("kind", "columns"), [("events", EVENTS), ("orphans", ORPHANS)])
def test_files_have_the_warehouse_s_columns(
    place: Place, kind: str, columns: dict[str, str]
) -> None:
    place.wrote(intent(), event())
    place.ship()
    (key,) = place.keys(kind)
    with duckdb.connect() as connection:
        found = connection.read_parquet(f"{place.root}/warehouse/{key}")
        assert dict(zip(found.columns, map(str, found.types), strict=True)) == columns


def test_a_request_lies_in_its_day_of_admission(place: Place) -> None:
    late = intent(dt.datetime(2026, 11, 3, 23, 59, 59, 999000, tzinfo=dt.UTC))
    early = intent(dt.datetime(2026, 11, 4, tzinfo=dt.UTC))
    place.wrote(late, early, event(early), event(late))
    place.ship()
    days = [key.split("/")[1] for key in place.keys("events")]
    assert days == ["day=2026-11-03", "day=2026-11-04"]
    assert place.ids() == sorted([late.request_id, early.request_id])


def test_schema_1_takes_the_day_from_the_record(place: Place) -> None:
    place.ledger.mkdir()
    (place.ledger / "segment-0000000001.jsonl").write_bytes(V1_INTENT + V1_EVENT + V1_INTENT)
    place.wrote(event())
    place.ship()
    assert [key.split("/")[1] for key in place.keys("events")] == [
        "day=2026-10-31",
        "day=2026-11-03",
    ]
    first = min(place.rows("events"), key=lambda row: row["admitted"])
    assert first["admitted"].isoformat() == "2026-10-31T23:59:59.900000"
    assert first["attempts"] == 1


def test_a_growing_segment_is_shipped_in_ranges(place: Place) -> None:
    segment = place.writing()
    shipper = Shipper(place.config)
    written = []
    for _ in range(3):
        batch = [event() for _ in range(4)]
        segment.append(lines(*batch))
        written += [one.request_id for one in batch]
        shipper.ship()
        assert place.ids() == sorted(written)
    assert len(place.keys("events")) == 3
    before = place.keys("")
    shipper.ship()
    place.ship()
    assert place.keys("") == before
    segment.close()


def test_a_long_backlog_becomes_several_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [event() for _ in range(100)]
    place.wrote(*batch)
    monkeypatch.setattr(ship, "RANGE_BYTES", 10_000)
    place.ship()
    assert len(place.keys("events")) == -(-len(lines(*batch)) // 10_000)
    assert place.ids() == sorted(one.request_id for one in batch)


class CrashError(Exception):
    """Where the shipper is killed."""


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("again", ["new", "same"])
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    place: Place, again: str, *, after: bool
) -> None:
    """The ledger has two days, two processes, an orphan and a rotated segment, and it grows."""
    left = intent()
    yesterday = intent(NOON - dt.timedelta(days=1))
    place.wrote(left, yesterday, event(yesterday))
    segment = place.writing(max_bytes=600)
    written = [yesterday.request_id]
    crashes = 0
    for step in range(1, 100):
        one = event()
        segment.append(lines(one))
        written.append(one.request_id)
        fatal = FatalStore(open_store(place.config.warehouse_uri), Death(step, after), crash)
        steps = iter([fatal])
        shipper = Shipper(
            place.config, lambda uri, steps=steps: next(steps, None) or open_store(uri)
        )
        try:
            shipper.ship()
        except CrashError:
            crashes += 1
            if again == "same":
                shipper.ship()
        if crashes < step:
            break
    segment.close()
    place.ship()
    assert crashes >= 3
    assert set(place.ids()) == set(written)
    assert place.ids("orphans") == [left.request_id]
    doubled = len(place.ids()) - len(written)
    assert doubled <= crashes, "only what was in flight at a crash is shipped twice"
    assert len(place.keys("shipped")) == len(segment_paths(place.ledger))


def test_two_shippers_of_one_ledger_do_not_harm_each_other(place: Place) -> None:
    segment = place.writing()
    one, other = Shipper(place.config), Shipper(place.config)
    written = []
    for shipper in (one, other, one, other):
        ended = event()
        segment.append(lines(ended))
        written.append(ended.request_id)
        attempt(shipper)
    segment.close()
    assert attempt(one) or attempt(one)
    assert set(place.ids()) == set(written)


def test_what_a_dead_process_left_open_is_named_once(place: Place) -> None:
    left, ended = intent(), intent()
    place.wrote(left, ended, event(ended))
    segment = place.writing()
    flying = intent()
    segment.append(lines(flying))
    for _ in range(2):
        assert place.ship().orphans == 1
    assert place.ids("orphans") == [left.request_id]
    (row,) = place.rows("orphans")
    assert (row["customer"], row["writer"], row["stream"]) == (
        "customer-bank-A",
        "local-router",
        False,
    )
    segment.append(lines(event(flying)))
    segment.close()
    assert place.ship(last=True).orphans == 1
    assert place.ids("orphans") == [left.request_id]


def test_an_end_in_a_later_segment_is_no_orphan(place: Place) -> None:
    segment = place.writing(max_bytes=1)
    requests = [intent() for _ in range(3)]
    for record in (*requests, event(requests[0]), event(requests[2])):
        segment.append(lines(record))
    segment.close()
    place.wrote(event())
    place.ship()
    assert place.ids("orphans") == [requests[1].request_id]


def test_a_router_that_ended_leaves_orphans_without_a_successor(place: Place) -> None:
    segment = place.writing()
    left = intent()
    segment.append(lines(left))
    assert place.ship().orphans == 0
    segment.close()
    assert place.ship().orphans == 1
    assert place.ids("orphans") == [left.request_id]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "end", "end", "ship", "restart"]),
            st.integers(0, 10),
        ),
        max_size=40,
    ),
    st.integers(1, 3000),
)
def test_every_request_is_an_event_or_an_orphan(
    steps: list[tuple[str, int]], max_bytes: int
) -> None:
    """Whatever the order, the length of segments and the moments of shipping and restarting."""
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        segment = place.writing(max_bytes=max_bytes)
        flying: list[Intent] = []
        ended, left = set(), set()
        for step, choice in steps:
            if step == "admit":
                flying.append(intent())
                segment.append(lines(flying[-1]))
            elif step == "end" and flying:
                one = flying.pop(choice % len(flying))
                segment.append(lines(event(one)))
                ended.add(one.request_id)
            elif step == "ship":
                place.ship()
            elif step == "restart":
                segment.close()
                left |= {one.request_id for one in flying}
                flying = []
                segment = place.writing(max_bytes=max_bytes)
        segment.close()
        left |= {one.request_id for one in flying}
        assert place.ship(last=True).finished
        assert place.ids() == sorted(ended)
        assert place.ids("orphans") == sorted(left)


def test_a_torn_tail_is_passed_over(place: Place) -> None:
    first, second = event(), event()
    path = place.wrote(first)
    with path.open("ab") as stream:
        stream.write(lines(second)[:100])
    state = place.ship()
    assert state.damaged == ()
    assert place.ids() == [first.request_id]
    place.wrote(second)
    place.ship()
    assert place.ids() == sorted([first.request_id, second.request_id])


def test_damage_is_reported_and_holds_up_no_other_segment(place: Place) -> None:
    kept, lost, behind, left = event(), event(), event(), intent()
    path = place.wrote(left, kept, lost, behind)
    shipper = Shipper(place.config)
    path.write_bytes(
        lines(left, kept) + lines(lost).replace(b'"status":200', b'"status":500') + lines(behind)
    )
    other = event()
    place.wrote(other)
    state = shipper.ship(last=True)
    (problem,) = state.damaged
    assert problem.startswith(f"{path}: line 3 is damaged: the checksum does not match")
    assert place.ids() == sorted([kept.request_id, other.request_id])
    assert place.ids("orphans") == [], "the end may be in the damaged part"
    assert (state.finished, state.shipped_until) == (False, None)
    assert not attempt(shipper)
    path.write_bytes(lines(left, kept, behind))
    assert attempt(shipper)
    assert place.ids() == sorted([kept.request_id, other.request_id, behind.request_id])
    assert place.ids("orphans") == [left.request_id]
    assert place.state().shipped_until is not None


def test_a_segment_that_lost_shipped_bytes_is_reported(place: Place) -> None:
    path = place.wrote(event(), event())
    place.ship()
    path.write_bytes(path.read_bytes()[:100])
    (problem,) = place.ship().damaged
    assert "100 bytes long" in problem
    assert "restore the segment" in problem


def test_a_volume_restored_from_a_snapshot_is_noticed(place: Place) -> None:
    place.wrote(event())
    snapshot = place.root / "snapshot"
    shutil.copytree(place.ledger, snapshot)
    place.wrote(event(), event())
    place.wrote(event())
    before = place.ship()
    place.ledger.rename(place.root / "gone")
    snapshot.rename(place.ledger)
    place.wrote(event())
    found = place.ship()
    assert [problem.partition(": ")[0][-10:] for problem in found.damaged] == [
        "0002.jsonl",
        "0003.jsonl",
    ]
    assert "remove the file ledger-id" in found.damaged[1]
    assert found.shipped_until == before.shipped_until
    (place.ledger / "ledger-id").unlink()
    last = event()
    place.wrote(last)
    after = place.ship()
    assert after.damaged == ()
    assert [entry.ledger_id for entry in after.lost] == [before.ledger_id]
    assert last.request_id in place.ids()


@pytest.mark.parametrize("new_ones", [3, 5])
def test_a_new_segment_is_not_taken_for_an_old_one_of_its_number(
    place: Place, new_ones: int
) -> None:
    """Where the old one was shipped to, a line of the new one ends as well."""
    place.wrote(event())
    snapshot = place.root / "snapshot"
    shutil.copytree(place.ledger, snapshot)
    place.wrote(event(), event(), event())
    before = place.ship()
    place.ledger.rename(place.root / "gone")
    snapshot.rename(place.ledger)
    new = [event() for _ in range(new_ones)]
    path = place.wrote(*new)
    found = place.ship()
    (problem,) = found.damaged
    assert problem.startswith(f"{path}: its first {len(lines(*new[:3]))} bytes are not those")
    assert "remove the file ledger-id" in problem
    assert found.shipped_until == before.shipped_until
    (place.ledger / "ledger-id").unlink()
    place.wrote()
    assert place.ship().damaged == ()
    assert {one.request_id for one in new} <= set(place.ids())


def test_a_file_of_a_volume_s_lost_rows_does_not_stand_for_new_ones(place: Place) -> None:
    """Its shipper was killed between a file and its progress, and the volume went back in time."""
    segment = place.writing()
    snapshot = place.root / "snapshot"
    shutil.copytree(place.ledger, snapshot)
    segment.append(lines(event()))
    segment.close()
    store = open_store(place.config.warehouse_uri)
    dying = FatalStore(store, Death(step=1, after=True), crash)
    with pytest.raises(CrashError):
        Shipper(place.config, lambda _: dying).ship()
    (old,) = place.ids()
    place.ledger.rename(place.root / "gone")
    snapshot.rename(place.ledger)
    new = event()
    (place.ledger / "segment-0000000001.jsonl").write_bytes(lines(new))
    assert place.ship().damaged == ()
    assert place.ids() == sorted([old, new.request_id])


def test_a_segment_that_is_gone_before_it_was_shipped_is_reported(place: Place) -> None:
    first, _, third = records = [event() for _ in range(3)]
    segment = place.writing(max_bytes=1)
    for record in records:
        segment.append(lines(record))
    segment.close()
    path = segment_paths(place.ledger)[1]
    path.unlink()
    state = place.ship(last=True)
    (problem,) = state.damaged
    assert problem.startswith(f"{path}: it is gone and was not shipped to its end")
    assert "put an empty file in its place and restart" in problem
    assert (state.finished, state.shipped_until) == (False, None)
    assert place.ids() == sorted([first.request_id, third.request_id])
    path.touch()
    assert place.ship(last=True).finished


def test_a_segment_that_is_gone_with_its_end_is_reported(place: Place) -> None:
    """It was the newest when it was shipped last, and grew."""
    segment = place.writing(max_bytes=1000)
    shipped = event()
    segment.append(lines(shipped))
    place.ship()
    for _ in range(3):
        segment.append(lines(event()))
    segment.close()
    path = segment_paths(place.ledger)[0]
    path.unlink()
    state = place.ship()
    (problem,) = state.damaged
    progress = f"shipped/local-router/{state.ledger_id}/0000000001.json"
    assert f"put an empty file in its place, remove {progress} from the warehouse" in problem
    path.touch()
    (place.root / "warehouse" / progress).unlink()
    assert place.ship().damaged == ()
    assert shipped.request_id in place.ids()


def test_a_segment_may_go_when_all_of_it_is_shipped(place: Place) -> None:
    left = intent()
    segment = place.writing(max_bytes=1)
    for record in (left, event(), event()):
        segment.append(lines(record))
    shipper = Shipper(place.config)
    shipper.ship()
    for path in segment_paths(place.ledger)[:-1]:
        path.unlink()
    segment.append(lines(event()))
    assert shipper.ship().damaged == ()
    segment.close()
    assert place.ship(last=True).finished
    assert place.ids("orphans") == [left.request_id]


def test_orphans_are_named_once_though_an_empty_segment_follows(place: Place) -> None:
    """A process that died as it began its next segment, and the one after it."""
    left = intent()
    path = place.wrote(left)
    path.with_name("segment-0000000002.jsonl").touch()
    assert place.ship().orphans == 1
    place.wrote(event())
    assert place.ship().orphans == 1
    assert place.ids("orphans") == [left.request_id]


@pytest.mark.parametrize("kind", ["events", "orphans"])
def test_a_file_that_is_gone_is_missing_until_its_segment_is_shipped_again(
    place: Place, kind: str
) -> None:
    store = open_store(place.config.warehouse_uri)
    left, ended = intent(), intent(NOON - dt.timedelta(days=1))
    segment = place.writing()
    for records in ((left, event()), (ended, event(ended)), (event(), event())):
        segment.append(lines(*records))
        place.ship()
    segment.close()
    place.ship()
    before = place.ids(kind)
    assert missing_files(store) == []
    for key in place.keys(kind):
        path = place.root / "warehouse" / key
        path.rename(place.root / "gone")
        (missing,) = missing_files(store)
        assert missing.key == key
        assert missing.progress.segment == 1
        (place.root / "gone").rename(path)
    path.unlink()
    (place.root / "warehouse" / missing.progress.key).unlink()
    place.ship()
    assert missing_files(store) == []
    assert set(place.ids(kind)) == set(before)


def test_no_file_is_opened_to_find_the_missing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.wrote(intent(), event())
    place.ship()
    store = open_store(place.config.warehouse_uri)
    read: list[str] = []
    get = store.get
    monkeypatch.setattr(store, "get", lambda key: read.append(key) or get(key))
    assert missing_files(store) == []
    assert read == place.keys("shipped")


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        ({"request_id": "r1"}, "r1"),
        ({"ts": "yesterday"}, "yesterday"),
        ({"ts": "2026-11-03T12:00:00"}, "no offset from UTC"),
    ],
)
def test_a_record_that_is_no_row_is_reported_by_line(
    place: Place, unfit: dict[str, Any], said: str
) -> None:
    first = event()
    path = place.wrote(first, replace(event(), **unfit), event())
    (problem,) = place.ship().damaged
    assert problem.startswith(f"{path}: line 2")
    assert said in problem
    assert place.ids() == [first.request_id]


def test_absurd_counts_reach_the_warehouse_and_stay_absurd(place: Place) -> None:
    place.wrote(event(input_tokens=10**30, output_tokens=-(10**30), cached_tokens=-1))
    place.ship()
    (row,) = place.rows("events")
    assert (row["input_tokens"], row["output_tokens"]) == (2**63 - 1, -(2**63) + 1)
    assert row["cached_tokens"] == -1


def test_shipped_until_lies_before_what_was_not_there_yet(place: Place) -> None:
    place.wrote(event())
    before = dt.datetime.now(dt.UTC)
    first = place.ship()
    after = dt.datetime.now(dt.UTC)
    assert first.shipped_until is not None
    assert before <= first.shipped_until <= after
    second = place.ship()
    assert second.shipped_until is not None
    assert second.shipped_until >= after
    assert second.last_shipped == first.last_shipped


def test_what_an_earlier_shipper_wrote_beside_is_passed_over(place: Place) -> None:
    """Documents of the version before had more keys."""
    place.wrote(event())
    place.ship()
    for key in (*place.keys("writers"), *place.keys("shipped")):
        path = place.root / "warehouse" / key
        path.write_text(json.dumps(json.loads(path.read_text()) | {"last_record": None}))
    last = event()
    place.wrote(last)
    assert place.ship().damaged == ()
    assert last.request_id in place.ids()


def test_a_lost_volume_is_named_and_not_overwritten(place: Place) -> None:
    place.wrote(event())
    first = place.ship()
    place.ledger.rename(place.root / "volume-1")
    place.wrote(event())
    second = place.ship()
    (lost,) = second.lost
    assert lost.ledger_id == first.ledger_id
    assert (lost.last_shipped, lost.shipped_until) == (first.last_shipped, first.shipped_until)
    assert place.ship().lost == (lost,)
    assert len(place.ids()) == 2
    place.ledger.rename(place.root / "volume-2")
    (place.root / "volume-1").rename(place.ledger)
    third = place.ship()
    assert [entry.ledger_id for entry in third.lost] == [second.ledger_id]


def test_a_finished_volume_is_not_lost(place: Place) -> None:
    place.wrote(event())
    assert place.ship(last=True).finished
    place.ledger.rename(place.root / "retired")
    place.wrote(event())
    assert place.ship().lost == ()


def test_a_writer_is_not_finished_while_its_router_writes(place: Place) -> None:
    segment = place.writing()
    segment.append(lines(event()))
    assert not place.ship(last=True).finished
    segment.close()
    assert place.ship(last=True).finished
    assert not place.ship().finished


def test_a_dead_store_is_tried_again(place: Place) -> None:
    refused = 2

    def connect(uri: str) -> ObjectStore:
        nonlocal refused
        refused -= 1
        if refused >= 0:
            raise OSError(111, "Connection refused")
        return open_store(uri)

    ended = event()
    place.wrote(ended)
    shipper = Shipper(place.config, connect)
    assert not attempt(shipper)
    assert not attempt(shipper)
    assert attempt(shipper)
    assert place.ids() == [ended.request_id]


def test_without_a_ledger_there_is_nothing_to_ship(place: Place) -> None:
    with pytest.raises(LedgerError, match="the router makes it when it starts"):
        place.ship()


def started(place: Place, *options: str) -> "subprocess.Popen[str]":
    file = place.root / "shipper.json"
    file.write_text(place.config.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-m", "serving.ledger.shipping", "--config", str(file), *options],
        stderr=subprocess.PIPE,
        text=True,
    )


def until_shipped(place: Place, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(place.ids()) < count:
        assert time.monotonic() < deadline, "nothing is shipped"
        time.sleep(0.05)


def test_sigterm_ships_a_last_time_and_finishes(place: Place) -> None:
    segment = place.writing()
    process = started(place)
    first, last = event(), event()
    segment.append(lines(first))
    until_shipped(place, 1)
    process.send_signal(signal.SIGSTOP)
    segment.append(lines(last))
    segment.close()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert place.ids() == sorted([first.request_id, last.request_id])
    assert place.state().finished
    assert "writer local-router is finished" in said


def test_sigterm_beside_a_running_router_finishes_nothing(place: Place) -> None:
    segment = place.writing()
    process = started(place)
    segment.append(lines(event()))
    until_shipped(place, 1)
    process.terminate()
    _, said = process.communicate(timeout=60)
    segment.close()
    assert process.returncode == 0, said
    assert not place.state().finished
    assert place.state().ledger_id == ledger_id(place.ledger)


async def test_the_last_answer_of_a_drained_router_is_shipped(world: World) -> None:
    """As in a pod that goes: the router gets SIGTERM and drains, then the shipper gets it."""
    place = Place(world.root)
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        aiohttp.ClientSession() as session,
    ):
        router, key = await started_router(world, vllm_url, sync_url, sync)
        shipper = started(place)
        await until((place.root / "warehouse" / "writers").is_dir, "the shipper runs", seconds=60)
        vllm.token_delay_s = 0.05
        response = await session.post(
            f"{router.url}/v1/chat/completions",
            json={"model": "slm", "messages": [], "stream": True, "max_tokens": 10},
            headers={"Authorization": f"Bearer {key}"},
        )
        await response.content.readline()
        router.process.terminate()
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert await router.process.wait() == 0
        shipper.terminate()
        _, said = await asyncio.to_thread(shipper.communicate, timeout=60)
    assert shipper.returncode == 0, said
    (row,) = place.rows("events")
    assert row["request_id"].hex == response.headers["X-Request-Id"]
    assert (row["status"], row["output_tokens"]) == (200, 10)
    assert place.state().finished
    assert place.state().orphans == 0


def test_once_says_what_is_damaged(place: Place) -> None:
    path = place.wrote(event(), event())
    process = started(place, "--once")
    process.communicate(timeout=60)
    assert process.returncode == 0
    path.write_bytes(path.read_bytes() + b"garbage\n" + lines(event()))
    process = started(place, "--once")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{path}: line 3 is damaged" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ledger_dir", "relative/ledger"),
        ("writer", "Router 1"),
        ("warehouse_uri", "ftp://host/warehouse"),
        ("interval_s", 0),
    ],
)
def test_a_wrong_configuration_is_named(place: Place, key: str, value: object) -> None:
    file = place.root / "wrong.json"
    file.write_text(json.dumps(json.loads(place.config.model_dump_json()) | {key: value}))
    command = [sys.executable, "-m", "serving.ledger.shipping", "--config", str(file)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"{file}: {key}: " in ended.stderr
