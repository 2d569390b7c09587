"""What came late of a warehouse's days, and the requests behind it."""

import datetime as dt
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.directory_store import DirectoryStore
from registry.store import StoredObject
from serving.billing.books import BilledPart, Books
from serving.billing.gpu_time import UNCALIBRATED
from serving.billing.parts import unchanged
from serving.billing.usage import Counts, DayPart, UsageRow
from serving.billing.warehouse_days import WarehouseDays
from serving.warehouse.files import Warehouse, open_warehouse
from serving.warehouse.layout import day_folder, part_events_key
from tests.billing.builders import table
from tests.billing.rows import DAY, START, event, pod, report_pods, request_id, ship


class GrowingStore(DirectoryStore):
    """A directory into which a file with one more event is shipped after each listing of a day."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._folder = root
        self._shipped = 0

    def marks(self, prefix: str) -> dict[str, str]:
        """The listing; what is shipped after it is not in it."""
        found = super().marks(prefix)
        if prefix == day_folder("events", DAY):
            self._shipped += 1
            ship(self._folder, f"later-{self._shipped}", [event(100 + self._shipped)])
        return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "warehouse"
    folder.mkdir()
    return folder


@pytest.fixture
def days(root: Path, tmp_path: Path) -> WarehouseDays:
    return WarehouseDays(open_warehouse(root.as_uri(), tmp_path / "cache"), UNCALIBRATED)


def requests(rows: tuple[UsageRow, ...]) -> int:
    return sum(row.counts.requests for row in rows)


def late(days: WarehouseDays, before: DayPart) -> tuple[UsageRow, ...]:
    found = days.late(DAY, [before.digest])
    assert (found.part, found.gone) == (days.current(DAY), 0)
    return found.usage


def test_what_came_late_is_billed_once(root: Path, days: WarehouseDays) -> None:
    ship(root, "a", [event(1), event(2)])
    first = days.current(DAY)
    assert late(days, first) == ()
    ship(root, "b", [event(2), event(3), event(4, output_tokens=-1)])
    [row] = late(days, first)
    assert row.counts == Counts(1, 0, 0, 1000, 400, 200)
    second = days.current(DAY)
    assert late(days, second) == ()
    ship(root, "c", [event(5, domain="claims", served_model="claims-v1.0")])
    [row] = late(days, second)
    assert (row.domain, row.counts.requests) == ("claims", 1)


def test_what_arrives_meanwhile_is_left_for_the_next_time(root: Path, tmp_path: Path) -> None:
    ship(root, "a", [event(1)])
    warehouse = Warehouse(GrowingStore(root), lambda entry: root / entry.key, tmp_path)
    days = WarehouseDays(warehouse, UNCALIBRATED)
    digest = days.current(DAY).digest
    billed = 1
    for _ in range(3):
        found = days.late(DAY, [digest])
        billed += requests(found.usage)
        assert billed == requests(found.part.usage)
        digest = found.part.digest


def test_what_comes_late_to_a_day_without_files_is_billed(root: Path, days: WarehouseDays) -> None:
    empty = days.current(DAY)
    assert empty.usage == ()
    ship(root, "a", [event(1)])
    found = days.late(DAY, [empty.digest])
    assert found.usage == found.part.usage
    billed = BilledPart(DAY, found.part.digest, less=(empty.digest,))
    [request] = days.requests(billed, customer="customer-bank-A")
    assert request.request_id == request_id(1)


def test_the_file_of_no_events_has_the_columns_of_any(root: Path, days: WarehouseDays) -> None:
    def columns_of(part: DayPart) -> list[tuple[str, str]]:
        with duckdb.connect() as connection:
            file = connection.read_parquet(str(root / part_events_key(DAY, part.digest)))
            return [
                (column, str(kind)) for column, kind in zip(file.columns, file.types, strict=True)
            ]

    empty = columns_of(days.current(DAY))
    ship(root, "a", [event(1)])
    assert columns_of(days.current(DAY)) == empty


def test_what_is_lost_and_comes_back_is_billed_once(root: Path, days: WarehouseDays) -> None:
    file = ship(root, "a", [event(1), event(2)])
    ship(root, "b", [event(3)])
    first = days.current(DAY).digest
    kept = file.rename(root / "kept")
    without = days.late(DAY, [first])
    assert (without.usage, without.gone) == ((), 2)
    kept.rename(file)
    ship(root, "c", [event(4)])
    again = days.late(DAY, [first, without.part.digest])
    assert (requests(again.usage), again.gone) == (1, 0)
    billed = BilledPart(DAY, again.part.digest, less=(first, without.part.digest))
    [request] = days.requests(billed, customer="customer-bank-A")
    assert request.request_id == request_id(4)


def test_a_better_copy_of_what_was_billed_is_not_billed(root: Path, days: WarehouseDays) -> None:
    ship(root, "a", [event(1)])
    digests = [days.current(DAY).digest]
    # It ended first, so it counts, and cannot be billed.
    earlier = event(1, output_tokens=-1, ended=START)
    file = ship(root, "b", [earlier])
    worse = days.late(DAY, digests)
    assert (worse.usage, worse.gone) == ((), 1)
    digests.append(worse.part.digest)
    file.unlink()
    assert days.late(DAY, digests).usage == ()


@settings(max_examples=10, deadline=None)
@given(arrivals=st.lists(st.frozensets(st.integers(0, 5)), min_size=1, max_size=4))
def test_whatever_comes_and_goes_each_request_is_billed_once(
    arrivals: list[frozenset[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("warehouse")
    days = WarehouseDays(open_warehouse(root.as_uri(), root / ".cache"), UNCALIBRATED)
    digests = [days.current(DAY).digest]
    billed = 0
    for there in arrivals:
        ship(root, "a", [event(number) for number in sorted(there)])
        found = days.late(DAY, digests)
        billed += requests(found.usage)
        digests.append(found.part.digest)
    assert billed == len(frozenset().union(*arrivals))


def test_a_day_whose_files_stay_is_told_by_the_listing(root: Path, days: WarehouseDays) -> None:
    def same(digest: str) -> set[dt.date]:
        marks = days.warehouse.store.marks("")
        return unchanged(marks, {DAY: digest})

    empty = days.current(DAY).digest
    assert same(empty) == {DAY}
    report_pods(root, pod())
    assert same(empty) == set()
    ship(root, "a", [event(1)])
    first = days.current(DAY).digest
    assert same(first) == {DAY}
    ship(root, "a", [event(1), event(2)])
    assert same(first) == set()


class CountingStore(DirectoryStore):
    """A directory that counts which days' parts are read, and which folders are listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []
        self.listed: list[str] = []

    def get(self, key: str) -> StoredObject:
        """The object."""
        if key.startswith("parts/"):
            self.read.append(key.split("/")[1])
        return super().get(key)

    def marks(self, prefix: str) -> dict[str, str]:
        """The listing."""
        self.listed.append(prefix)
        return super().marks(prefix)


def test_closed_days_that_did_not_change_are_not_read(root: Path, tmp_path: Path) -> None:
    ship(root, "a", [event(1)])
    store = CountingStore(root)
    days = WarehouseDays(Warehouse(store, lambda one: root / one.key, tmp_path), UNCALIBRATED)
    now = dt.datetime(2026, 12, 2, tzinfo=dt.UTC)
    books = Books("test", store, days, table(), now)
    books.close("2026-11")
    books.statement("2026-12")
    store.read.clear()
    store.listed.clear()
    books.statement("2026-12")
    assert set(store.read) == {"day=2026-12-01", "day=2026-12-02"}
    assert sum("2026-11" in prefix for prefix in store.listed) == 0
    ship(root, "b", [event(2)])
    [invoice] = books.statement("2026-12").invoices
    assert invoice.counts.requests == 1
    assert "day=2026-11-03" in store.read
