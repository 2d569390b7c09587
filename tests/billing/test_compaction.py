"""Day parts of a warehouse on a directory, and once on S3 (moto's)."""

import datetime as dt
import hashlib
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from serving.billing.compaction import day_part
from serving.billing.errors import BillingError
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights, TokenWeights
from serving.billing.part_events import requests_of
from serving.billing.parts import frozen_part
from serving.billing.usage import Attention, Counts, DayPart
from serving.warehouse.files import Warehouse, open_warehouse
from serving.warehouse.layout import part_events_key, part_key
from tests.billing.rows import (
    DAY,
    START,
    event,
    orphan,
    pod,
    report_pods,
    request_id,
    ship,
    ship_orphans,
)

YESTERDAY = START - dt.timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "warehouse"
    folder.mkdir()
    report_pods(folder, pod())
    return folder


@pytest.fixture
def warehouse(root: Path, tmp_path: Path) -> Warehouse:
    return open_warehouse(root.as_uri(), tmp_path / "cache")


def part_of(root: Path) -> DayPart:
    return day_part(open_warehouse(root.as_uri(), root.parent / "cache"), DAY, UNCALIBRATED)


def billed(part: DayPart) -> int:
    return sum(row.counts.requests for row in part.usage)


def found(part: DayPart) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.requests) for one in part.attention]


def test_usage_is_summed_by_customer_domain_adapter_pool_and_arm(root: Path) -> None:
    wasted = {"wasted_input_tokens": 30, "wasted_cached_tokens": 20, "wasted_output_tokens": 10}
    rows = [
        event(1),
        event(2, input_tokens=10, cached_tokens=None, output_tokens=1, **wasted),
        event(3, status=502, **wasted),
        event(4, output_tokens=None, **wasted),
        event(5, status=499),
        event(6, pool="llm", experiment="candidate", version=None),
    ]
    ship(root, "a", rows)
    first, second = part_of(root).usage
    assert (first.pool, first.experiment, first.version) == ("llm", "candidate", None)
    assert first.counts == Counts(1, 0, 0, 1000, 400, 200)
    assert (second.pool, second.experiment, second.version) == ("slm", None, "v1.2")
    assert second.counts == Counts(5, 1, 1, 2010, 800, 401, 30, 20, 10)


def test_rows_shipped_twice_count_once(root: Path) -> None:
    ship(root, "a", [event(1), event(2)])
    ship(root, "b", [event(1), event(2), event(3)])
    part = part_of(root)
    assert billed(part) == 3
    assert part.attention == ()


def test_of_records_that_differ_the_first_to_end_is_billed_and_named(root: Path) -> None:
    late = START + dt.timedelta(seconds=9)
    ship(root, "a", [event(1, ended=late, output_tokens=900), event(2)])
    ship(root, "b", [event(1, output_tokens=100)])
    part = part_of(root)
    assert part.usage[0].counts.output_tokens == 100 + 200
    assert found(part) == [("duplicate-id", "router-0", 1)]
    assert request_id(1) in part.attention[0].detail


@settings(max_examples=25, deadline=None)
@given(
    copies=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from([1, 2]),
            st.sampled_from(["router-0", "router-1"]),
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        max_size=14,
    )
)
def test_no_order_of_rows_or_files_changes_which_copy_counts(
    copies: list[tuple[int, int, str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = []
    expected: dict[int, tuple[Any, ...]] = {}
    files: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, ended_s, writer, output_tokens, file in copies:
        ended = START + dt.timedelta(seconds=ended_s)
        row = event(number, ended=ended, writer=writer, output_tokens=output_tokens)
        rows.append(row)
        files[file].append(row)
        order = (ended, writer, output_tokens)
        expected[number] = min(expected.get(number, order), order)
    parts, events = [], []
    for turn in (list, lambda some: list(reversed(some))):
        folder = tmp_path_factory.mktemp("warehouse")
        for file, some in files.items():
            ship(folder, f"{file if turn is list else 9 - file}", turn(some))
        parts.append(part_of(folder))
        events.append((folder / part_events_key(DAY, parts[-1].digest)).read_bytes())
    assert parts[0].usage == parts[1].usage
    assert events[0] == events[1]
    assert sum(row.counts.output_tokens for row in parts[0].usage) == sum(
        output_tokens for _, _, output_tokens in expected.values()
    )
    assert billed(parts[0]) == len(expected)


@pytest.mark.parametrize(
    "tokens",
    [
        {"input_tokens": -1, "cached_tokens": None},
        {"cached_tokens": 1001},
        {"output_tokens": 100_000_001},
        {"output_tokens": 2**63 - 1},
        {"wasted_output_tokens": -5},
        {"wasted_input_tokens": 3, "wasted_cached_tokens": 4},
    ],
)
def test_token_counts_that_cannot_be_are_named_and_not_billed(
    root: Path, tokens: dict[str, Any]
) -> None:
    ship(root, "a", [event(1), event(2, **tokens)])
    part = part_of(root)
    assert billed(part) == 1
    assert found(part) == [("invalid-tokens", "router-0", 1)]
    assert request_id(2) in part.attention[0].detail


def test_an_adapter_of_another_domain_is_named_and_not_billed(root: Path) -> None:
    rows = [
        event(1),
        event(2, served_model="claims-v1.0"),
        event(3, served_model="slm-base", domain="claims"),
    ]
    ship(root, "a", rows)
    part = part_of(root)
    assert billed(part) == 2
    assert found(part) == [("foreign-adapter", "customer-bank-A", 1)]


@pytest.mark.parametrize("missing", ["customer", "pool", "status", "admitted", "request_id"])
def test_a_record_without_what_all_have_is_named_and_not_billed(root: Path, missing: str) -> None:
    ship(root, "a", [event(1), event(2, **{missing: None}), event(3, **{missing: None})])
    part = part_of(root)
    assert billed(part) == 1
    assert found(part) == [("incomplete-record", "router-0", 2)]


def test_an_id_of_another_day_than_its_file_is_named_and_not_billed(root: Path) -> None:
    ids = [request_id(2, YESTERDAY), request_id(3, YESTERDAY)]
    ship(root, "a", [event(1), event(2, request_id=ids[0]), event(3, request_id=ids[1])])
    part = part_of(root)
    assert billed(part) == 1
    assert found(part) == [("clock", "router-0", 2)]
    assert "not billed here" in part.attention[0].detail


@pytest.mark.parametrize(
    "times",
    [
        {"admitted": YESTERDAY},
        {"admitted": START + dt.timedelta(days=1, seconds=2)},
        {"ended": START - dt.timedelta(seconds=2)},
    ],
)
def test_times_that_contradict_the_id_are_named_and_billed(
    root: Path, times: dict[str, dt.datetime]
) -> None:
    ship(root, "a", [event(1), event(2, **{"ended": START + dt.timedelta(days=2)} | times)])
    part = part_of(root)
    assert billed(part) == 2
    assert found(part) == [("clock", "router-0", 1)]
    assert "billed on the day of the id" in part.attention[0].detail


def test_times_within_the_tolerance_are_not_named(root: Path) -> None:
    ship(root, "a", [event(1, admitted=START - dt.timedelta(milliseconds=900))])
    assert found(part_of(root)) == []


def test_the_day_of_a_random_id_is_that_of_its_record(root: Path) -> None:
    ids = ["c4a5e8b0f1d24e7c9a6b3d2e1f0a9b8c", "04a5e8b0f1d24e7c9a6b3d2e1f0a9b8c"]
    rows = [event(1, request_id=ids[0]), event(2, request_id=ids[1], admitted=YESTERDAY)]
    ship(root, "a", rows)
    part = part_of(root)
    assert billed(part) == 1
    assert found(part) == [("clock", "router-0", 1)]


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _scribbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _of_orphans(path: Path) -> None:
    shutil.copyfile(ship_orphans(path.parent.parent.parent, "o", [orphan(9)]), path)


@pytest.mark.parametrize("damage", [_truncated, _scribbled, _emptied, _of_orphans])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_goes_on(
    root: Path, tmp_path: Path, damage: Any
) -> None:
    ship(root, "a", [event(1)])
    damage(ship(root, "b", [event(2)]))
    part = part_of(root)
    assert billed(part) == 1
    assert found(part) == [("unreadable-file", "events/day=2026-11-03/b.parquet", 0)]
    assert str(tmp_path) not in part.attention[0].detail


@pytest.mark.parametrize("damage", [_truncated, _scribbled, _emptied])
def test_a_file_of_orphans_that_cannot_be_read_is_named(root: Path, damage: Any) -> None:
    ship_orphans(root, "a", [orphan(1)])
    damage(ship_orphans(root, "b", [orphan(2)]))
    part = part_of(root)
    assert [one.request_id for one in part.orphans] == [request_id(1)]
    assert found(part) == [("unreadable-file", "orphans/day=2026-11-03/b.parquet", 0)]


def test_a_restored_file_is_billed(root: Path) -> None:
    ship(root, "a", [event(1)])
    _truncated(ship(root, "b", [event(2)]))
    before = part_of(root)
    ship(root, "b", [event(2)])
    after = part_of(root)
    assert (billed(before), billed(after), after.attention) == (1, 2, ())


def test_a_report_of_pods_that_cannot_be_read_is_named(root: Path) -> None:
    report_pods(root, pod("slm-1"), source="other").write_text("{")
    ship(root, "a", [event(1)])
    part = part_of(root)
    assert found(part) == [("unreadable-file", "pods/day=2026-11-03/other.json", 0)]
    assert {row.pod for row in part.gpu} == {"slm-0"}


def test_orphans_are_requests_without_an_end(root: Path) -> None:
    ship(root, "a", [event(1)])
    ship_orphans(root, "a", [orphan(1), orphan(2)])
    ship_orphans(root, "b", [orphan(2), orphan(3, customer="customer-bank-B")])
    part = part_of(root)
    assert [(one.request_id, one.customer) for one in part.orphans] == [
        (request_id(2), "customer-bank-A"),
        (request_id(3), "customer-bank-B"),
    ]
    assert part.orphans[0].admitted == START.replace(tzinfo=dt.UTC)


def test_a_day_without_files_is_an_empty_part(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    part = part_of(tmp_path / "warehouse")
    assert (part.usage, part.gpu, part.orphans, part.attention) == ((), (), (), ())


def test_an_unchanged_day_is_not_made_again(root: Path, warehouse: Warehouse) -> None:
    ship(root, "a", [event(1)])
    first = part_of(root)
    before = warehouse.store.marks("parts/")
    assert part_of(root) == first
    assert warehouse.store.marks("parts/") == before


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_gone, _emptied, _scribbled])
@pytest.mark.parametrize("name", ["part.json", "its document"])
def test_a_newest_part_that_is_gone_or_damaged_is_made_again(
    root: Path, warehouse: Warehouse, damage: Any, name: str
) -> None:
    ship(root, "a", [event(1)])
    part = part_of(root)
    document = root / part_key(DAY, part.digest)
    damage(document.with_name("part.json") if name == "part.json" else document)
    assert part_of(root) == part
    assert frozen_part(warehouse, DAY, part.digest) == part
    before = warehouse.store.marks("parts/")
    assert part_of(root) == part
    assert warehouse.store.marks("parts/") == before


def test_new_files_and_new_weights_make_another_part(root: Path, warehouse: Warehouse) -> None:
    ship(root, "a", [event(1)])
    first = part_of(root)
    flat = TokenWeights(prefill_us=1, cached_us=1, decode_us=1)
    other = day_part(warehouse, DAY, GpuWeights(pools={"slm": flat}, source="made up"))
    ship(root, "b", [event(2)])
    third = part_of(root)
    assert len({first.digest, other.digest, third.digest}) == 3
    assert other.usage == first.usage
    assert billed(third) == 2


def test_the_same_files_make_the_same_bytes_elsewhere(root: Path, tmp_path: Path) -> None:
    ship(root, "a", [event(number, at_s=number) for number in range(50)])
    ship_orphans(root, "a", [orphan(77)])
    shutil.copytree(root, tmp_path / "copy")
    first, second = part_of(root), part_of(tmp_path / "copy")
    assert first == second
    for key in (part_key(DAY, first.digest), part_events_key(DAY, first.digest)):
        assert (root / key).read_bytes() == (tmp_path / "copy" / key).read_bytes()


def test_s3_gives_the_part_that_a_directory_gives(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(root, "a", [event(1), event(2)])
    ship(root, "b", [event(2), event(3, output_tokens=-1)])
    ship_orphans(root, "a", [orphan(4)])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        remote = open_warehouse("s3://bucket/billing", tmp_path / "remote")
        for path in root.rglob("day=*/*"):
            remote.store.put_file(path.relative_to(root).as_posix(), path)
        made = day_part(remote, DAY, UNCALIBRATED)
        read = day_part(remote, DAY, UNCALIBRATED)
        ids = [
            one.request_id
            for one in requests_of(remote, DAY, made.digest, customer="customer-bank-A")
        ]
    assert made == read == part_of(root)
    assert ids == [request_id(1), request_id(2)]


def test_a_frozen_part_stays_when_more_arrives(root: Path, warehouse: Warehouse) -> None:
    ship(root, "a", [event(1)])
    frozen = part_of(root)
    ship(root, "b", [event(2)])
    assert part_of(root) != frozen
    assert frozen_part(warehouse, DAY, frozen.digest) == frozen


def test_a_frozen_part_that_was_changed_is_refused(root: Path, warehouse: Warehouse) -> None:
    ship(root, "a", [event(1)])
    digest = part_of(root).digest
    path = root / part_key(DAY, digest)
    path.write_text(path.read_text().replace('"requests": 1', '"requests": 2'))
    with pytest.raises(BillingError, match=rf"{path.name}: changed since it was written"):
        frozen_part(warehouse, DAY, digest)


def test_a_frozen_part_that_is_gone_is_named(root: Path, warehouse: Warehouse) -> None:
    ship(root, "a", [event(1)])
    digest = part_of(root).digest
    (root / part_events_key(DAY, digest)).unlink()
    with pytest.raises(BillingError, match="the events of this part are gone"):
        list(requests_of(warehouse, DAY, digest, customer="customer-bank-A"))
    (root / part_key(DAY, digest)).unlink()
    with pytest.raises(BillingError, match="the part of 2026-11-03 is gone"):
        frozen_part(warehouse, DAY, digest)


def test_a_part_that_another_version_wrote_is_named(root: Path, warehouse: Warehouse) -> None:
    data = b'{"schema_version": 9}'
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    warehouse.store.put(part_key(DAY, digest), data)
    with pytest.raises(BillingError, match="not a part as this version reads it"):
        frozen_part(warehouse, DAY, digest)


def test_orphans_and_requests_of_no_pod_share_their_pools_gpu_time(root: Path) -> None:
    report_pods(root, pod("slm-0"), pod("slm-1"))
    ship(root, "a", [event(1, server=None)])
    ship_orphans(root, "a", [orphan(2)])
    part = part_of(root)
    assert {(row.pod, row.kind) for row in part.gpu} == {
        (name, kind) for name in ("slm-0", "slm-1") for kind in ("used", "idle", "unmeasured")
    }
    assert part.attention == ()


@pytest.mark.parametrize("damage", [_truncated, _scribbled, _emptied])
def test_events_that_are_not_those_of_the_part_are_refused(
    root: Path, warehouse: Warehouse, damage: Any
) -> None:
    ship(root, "a", [event(1), event(2)])
    digest = part_of(root).digest
    path = root / part_events_key(DAY, digest)
    damage(path)
    with pytest.raises(BillingError, match=rf"{path.name}: changed since it was written"):
        list(requests_of(warehouse, DAY, digest, customer="customer-bank-A"))


def test_the_requests_of_a_line_are_those_that_it_sums(root: Path, warehouse: Warehouse) -> None:
    rows = [
        event(3),
        event(1),
        event(2, domain="claims", served_model="claims-v1.0"),
        event(4, served_model="slm-base"),
        event(5, customer="customer-bank-B"),
        event(6, output_tokens=-1),
    ]
    ship(root, "a", rows)
    digest = part_of(root).digest

    def ids(**line: str) -> list[int]:
        requests = requests_of(warehouse, DAY, digest, customer="customer-bank-A", **line)
        return [int(one.request_id[12:]) for one in requests]

    assert ids() == [1, 2, 3, 4]
    assert ids(domain="bank-ledger") == [1, 3, 4]
    assert ids(served_model="slm-base") == [4]
    assert ids(domain="claims", served_model="slm-base") == []
    [one] = requests_of(warehouse, DAY, digest, customer="customer-bank-B")
    assert (one.admitted, one.status, one.input_tokens, one.output_tokens) == (
        START.replace(tzinfo=dt.UTC),
        200,
        1000,
        200,
    )


NAMED_BUT_BILLED = "billed on the day of the id"


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(
        st.sampled_from(
            [
                {},
                {"status": 503},
                {"input_tokens": None},
                {"output_tokens": -1},
                {"served_model": "claims-v1.0"},
                {"customer": None},
                {"request_id": request_id(99, YESTERDAY)},
                {"ended": START - dt.timedelta(minutes=1)},
                {"server": "ghost"},
            ]
        ),
        max_size=10,
    ),
    twice=st.booleans(),
)
def test_every_request_is_billed_or_named(
    kinds: list[dict[str, Any]], twice: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("warehouse")
    rows = [event(number, **changes) for number, changes in enumerate(kinds)]
    ship(root, "a", rows)
    if twice:
        ship(root, "b", rows)
    part = part_of(root)
    unbilled: Counter[str] = Counter()
    for one in part.attention:
        if one.kind not in ("unknown-pod", "duplicate-id") and NAMED_BUT_BILLED not in one.detail:
            unbilled[one.kind] += one.requests
    assert billed(part) + unbilled.total() == len({row["request_id"] for row in rows})


def test_attention_comes_in_one_order(root: Path) -> None:
    rows = [
        event(1, output_tokens=-1, writer="router-1"),
        event(2, output_tokens=-1),
        event(3, served_model="claims-v1.0"),
    ]
    ship(root, "a", rows)
    named = part_of(root).attention
    assert list(named) == sorted(named, key=lambda one: (one.kind, one.where))
    assert all(isinstance(one, Attention) for one in named)
