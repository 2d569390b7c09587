"""What came late of a warehouse's days, and the requests behind it."""

from pathlib import Path

import duckdb
import pytest

from registry.directory_store import DirectoryStore
from serving.billing.books import BilledPart
from serving.billing.gpu_time import UNCALIBRATED
from serving.billing.usage import Counts, DayPart, UsageRow
from serving.billing.warehouse_days import WarehouseDays
from serving.warehouse.files import Warehouse, open_warehouse
from serving.warehouse.layout import day_folder, part_events_key
from tests.billing.rows import DAY, event, request_id, ship


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
    newest, rows = days.late(DAY, before.digest)
    assert newest == days.current(DAY)
    return rows


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
        newest, rows = days.late(DAY, digest)
        billed += requests(rows)
        assert billed == requests(newest.usage)
        digest = newest.digest


def test_what_comes_late_to_a_day_without_files_is_billed(root: Path, days: WarehouseDays) -> None:
    empty = days.current(DAY)
    assert empty.usage == ()
    ship(root, "a", [event(1)])
    newest, rows = days.late(DAY, empty.digest)
    assert rows == newest.usage
    billed = BilledPart(DAY, newest.digest, less=empty.digest)
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
