"""Rows of the warehouse's Parquet files, and files of them, as a shipper would write them."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from serving.warehouse import columns
from serving.warehouse.layout import EVENTS, ORPHANS, PODS, day_folder

DAY = dt.date(2026, 11, 3)
START = dt.datetime(2026, 11, 3)  # noqa: DTZ001  Parquet's timestamps have no zone
WRITER = "router-0"


def request_id(number: int, admitted: dt.datetime = START) -> str:
    """The id that a request admitted at this time could have."""
    ms = int(admitted.replace(tzinfo=dt.UTC).timestamp() * 1000)
    return f"{ms:012x}{number:020x}"


def event(number: int = 1, *, at_s: float = 0, **changes: Any) -> dict[str, Any]:
    """An event admitted some seconds into the day; the changes are columns."""
    admitted = START + dt.timedelta(seconds=at_s)
    latency = dt.timedelta(microseconds=changes.get("latency_us", 2_000_000))
    row = {
        "request_id": request_id(number, admitted),
        "admitted": admitted,
        "ended": admitted + latency,
        "customer": "customer-bank-A",
        "domain": "bank-ledger",
        "version": "v1.2",
        "served_model": "bank-ledger-v1.2",
        "pool": "slm",
        "server": "slm-0",
        "experiment": None,
        "stream": False,
        "status": 200,
        "error": None,
        "attempts": 1,
        "input_tokens": 1000,
        "cached_tokens": 400,
        "output_tokens": 200,
        "wasted_pool": None,
        "wasted_server": None,
        "wasted_input_tokens": 0,
        "wasted_cached_tokens": 0,
        "wasted_output_tokens": 0,
        "latency_us": 2_000_000,
        "ttft_us": 500_000,
        "writer": WRITER,
    }
    assert changes.keys() <= row.keys()
    return row | changes


def orphan(number: int, **changes: Any) -> dict[str, Any]:
    """A row of `orphans/`."""
    row = {name: value for name, value in event(number).items() if name in columns.ORPHANS}
    assert changes.keys() <= row.keys()
    return row | changes


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> Path:
    """Write one Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    definition = ", ".join(f"{name} {kind}" for name, kind in types.items())
    marks = ", ".join("?" for _ in types)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows ({definition})")
        for row in rows:
            connection.execute(f"INSERT INTO rows VALUES ({marks})", list(row.values()))
        connection.execute("COPY rows TO $path (FORMAT parquet)", {"path": str(path)})
    return path


def ship(root: Path, name: str, rows: Iterable[Mapping[str, Any]], *, day: dt.date = DAY) -> Path:
    """Write a file of events into a directory that is a warehouse."""
    return write_rows(root / day_folder(EVENTS, day) / f"{name}.parquet", rows, columns.EVENTS)


def ship_orphans(root: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a file of orphans."""
    return write_rows(root / day_folder(ORPHANS, DAY) / f"{name}.parquet", rows, columns.ORPHANS)


def pod(name: str = "slm-0", **changes: Any) -> dict[str, Any]:
    """A pod with one GPU for the whole day, as the cluster reports it."""
    interval = {
        "pod": name,
        "pool": name.partition("-")[0],
        "gpu_type": "L4",
        "gpus": 1,
        "price_class": "on-demand",
        "started": "2026-11-03T00:00:00Z",
        "ended": "2026-11-04T00:00:00Z",
    }
    assert changes.keys() <= interval.keys()
    return interval | changes


def report_pods(root: Path, *pods: Mapping[str, Any], source: str = "cluster") -> Path:
    """Write a report of pods."""
    path = root / day_folder(PODS, DAY) / f"{source}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"intervals": pods}))
    return path
