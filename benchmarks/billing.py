"""A closed month from the ledger's files, against DuckDB's own distinct and group-by.

Both read the same files with the same threads and memory limit, each in a process of its own, and
must find the same sums. The product does more: it keeps the events without duplicates, checks every
record, allocates GPU time, and makes and seals the invoices. Files are read once before each run,
so that both find them in the page cache as far as it goes. On a machine with other work,
`cpu_ratio` says more than seconds do.
"""

import argparse
import contextlib
import datetime as dt
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.billing_month import FIRST_DAY, PRICES, WEIGHTS, make_month
from benchmarks.processes import say
from serving.billing.books import GRACE, Books
from serving.billing.compaction import day_part
from serving.billing.months import bounds, month_of
from serving.billing.warehouse_days import WarehouseDays
from serving.warehouse import duck
from serving.warehouse.files import Warehouse, open_warehouse
from serving.warehouse.layout import EVENTS, day_folder

_GIB: Final = 2**30

Sums = dict[tuple[str, str, str], tuple[int, ...]]
"""Requests and tokens by customer, served model and pool."""

_PEER: Final = """
SELECT
    customer, served_model, pool, admitted::DATE AS day,
    count(*),
    sum(input_tokens) FILTER (WHERE status < 500),
    sum(cached_tokens) FILTER (WHERE status < 500),
    sum(output_tokens) FILTER (WHERE status < 500)
FROM (SELECT DISTINCT ON (request_id) * FROM read_parquet($files, hive_partitioning = false))
GROUP BY customer, served_model, pool, day
"""


class Run(NamedTuple):
    """What one way took, in a process of its own."""

    seconds: float
    cpu_seconds: float
    peak_gib: float
    result: Any


def _parts(root: Path, days: int) -> None:
    """Make every day's part."""
    warehouse = _open(root)
    for day in _days(days):
        day_part(warehouse, day, WEIGHTS)
        say(f"{day} done")


def _close(root: Path, _: int) -> Sums:
    """Close the month, and sum what its invoices count."""
    warehouse = _open(root)
    month = month_of(FIRST_DAY)
    books = Books(
        environment="benchmark",
        store=warehouse.store,
        parts=WarehouseDays(warehouse, WEIGHTS),
        prices=PRICES,
        now=bounds(month)[1] + GRACE,
    )
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for invoice in books.close(month).statement.invoices:
        for line in invoice.lines:
            if line.kind == "tokens":
                used = line.counts
                add = (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens)
                total = sums[line.customer, str(line.served_model), str(line.pool)]
                total[:] = map(sum, zip(total, add, strict=True))
    return {key: tuple(total) for key, total in sums.items()}


def _peer(root: Path, days: int) -> Sums:
    """De-duplicate and sum the month in one statement."""
    files = [
        str(path)
        for day in _days(days)
        for path in sorted((root / day_folder(EVENTS, day)).iterdir())
    ]
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    with duck.session(_scratch(root)) as (connection, _):
        for row in connection.execute(_PEER, {"files": files}).fetchall():
            total = sums[row[:3]]
            total[:] = map(sum, zip(total, row[4:], strict=True))
    return {key: tuple(total) for key, total in sums.items()}


def _open(root: Path) -> Warehouse:
    return open_warehouse(root.as_uri(), _scratch(root))


def _scratch(root: Path) -> Path:
    folder = root / ".scratch"
    folder.mkdir(exist_ok=True)
    return folder


def _days(days: int) -> Iterator[dt.date]:
    return (FIRST_DAY + dt.timedelta(days=number) for number in range(days))


def _timed(way: Callable[[Path, int], Any], root: Path, days: int) -> Run:
    started = time.perf_counter()
    result = way(root, days)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = used.ru_utime + used.ru_stime
    return Run(seconds, cpu_seconds, used.ru_maxrss * 1024 / _GIB, result)


def _apart(way: Callable[[Path, int], Any], root: Path, days: int) -> Run:
    """Run in a fresh process, whose peak is of nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        run: Run = pool.apply(_timed, (way, root, days))
    say(
        f"{way.__name__}: {run.seconds:.1f} s ({run.cpu_seconds:.1f} s CPU), {run.peak_gib:.2f} GiB"
    )
    return run


def _warm(root: Path) -> None:
    for path in root.glob(f"{EVENTS}*/*.parquet"):
        with path.open("rb") as stream:
            while stream.read(1 << 20):
                pass


def measure(root: Path, days: int) -> dict[str, Any]:
    """Run both ways over the month below `root`.

    Raises:
        RuntimeError: Their sums differ.
    """
    for made in ("parts", "closed"):
        shutil.rmtree(root / made, ignore_errors=True)
    _warm(root)
    parts = _apart(_parts, root, days)
    close = _apart(_close, root, days)
    _warm(root)
    peer = _apart(_peer, root, days)
    if close.result != peer.result:
        raise RuntimeError("the sums differ: one of the two does not de-duplicate as it should")
    seconds = parts.seconds + close.seconds
    return {
        "events": sum(total[0] for total in close.result.values()),
        "seconds": round(seconds, 1),
        "peak_gib": round(max(parts.peak_gib, close.peak_gib), 2),
        "ratio_to_duckdb": round(seconds / peer.seconds, 2),
        "cpu_ratio": round((parts.cpu_seconds + close.cpu_seconds) / peer.cpu_seconds, 2),
        "peer_seconds": round(peer.seconds, 1),
        "peer_peak_gib": round(peer.peak_gib, 2),
        "close_seconds": round(close.seconds, 2),
    }


@contextlib.contextmanager
def _month(keep: Path | None, events: int, days: int) -> Iterator[Path]:
    if keep is not None and (keep / "events").is_dir():
        say(f"{keep}: using the month that is there")
        yield keep
        return
    with contextlib.ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        say(f"{root}: writing {events:,} events of {days} days")
        make_month(root, events=events, days=days)
        yield root


def main() -> int:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=30, choices=range(1, 31), metavar="1-30")
    parser.add_argument("--keep", type=Path, help="folder for the month; one that is there is used")
    arguments = parser.parse_args()
    with _month(arguments.keep, arguments.events, arguments.days) as root:
        result = measure(root.resolve(), arguments.days)
    sys.stdout.write(f"{json.dumps(result)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
