"""Rows, parts and prices for tests, with defaults for what a test does not care about."""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from serving.billing.notes import Note
from serving.billing.prices import PriceTable
from serving.billing.usage import Counts, DayPart, GpuRow, Orphan, RunRow, UsageRow

MONTH = "2026-11"
DAY = dt.date(2026, 11, 3)
CUSTOMER = "customer-bank-A"
POOLS = {
    "slm": {"input": "0.10", "cached_input": "0.025", "output": "0.40"},
    "llm": {"input": "3", "cached_input": "0.75", "output": "12"},
}


def table(*later: dict[str, Any], **first: Any) -> PriceTable:
    """A table whose first period begins in January; keywords replace what it has."""
    period = {"from": "2026-01-01", "pools": POOLS, **first}
    return PriceTable.model_validate({"currency": "USD", "prices": [period, *later]})


def counts(requests: int = 1, tokens: tuple[int, int, int] = (0, 0, 0), **more: int) -> Counts:
    """Counts with input, cached and output tokens."""
    return Counts(requests, 0, 0, *tokens, **more)


def usage(used: Counts, **changes: Any) -> UsageRow:
    values = {
        "day": DAY,
        "customer": CUSTOMER,
        "domain": "bank-ledger",
        "served_model": "bank-ledger-v1.0",
        "version": "v1.0",
        "pool": "slm",
        "experiment": None,
        **changes,
    }
    return UsageRow(**values, counts=used)


def gpu(gpu_ms: int, **changes: Any) -> GpuRow:
    kind = changes.get("kind", "used")
    owner = {"customer": CUSTOMER, "domain": "bank-ledger", "served_model": "bank-ledger-v1.0"}
    values = {
        "day": DAY,
        "pod": "vllm-0",
        "pool": "slm",
        "gpu_type": "H100",
        "price_class": "on-demand",
        "kind": kind,
        **(owner if kind == "used" else dict.fromkeys(owner)),
        **changes,
    }
    return GpuRow(**values, gpu_ms=gpu_ms)


def run(gpu_ms: int, **changes: Any) -> RunRow:
    values = {
        "day": DAY,
        "run_id": "train-slm-3f2a9c41b07d",
        "kind": "training",
        "customer": CUSTOMER,
        "domain": "bank-ledger",
        "gpu_type": "H100",
        "price_class": "spot",
        **changes,
    }
    return RunRow(**values, gpu_ms=gpu_ms)


def orphan(request_id: str, **changes: Any) -> Orphan:
    values = {
        "admitted": dt.datetime(2026, 11, 3, 10, tzinfo=dt.UTC),
        "customer": CUSTOMER,
        "domain": "bank-ledger",
        "served_model": "bank-ledger-v1.0",
        "pool": "slm",
        "writer": "router-0",
        **changes,
    }
    return Orphan(request_id, **values)


def note(amount: str, **changes: Any) -> Note:
    """A note on October that appears in November."""
    values = {
        "kind": "credit",
        "id": "2026-10-0001",
        "customer": CUSTOMER,
        "amount": amount,
        "month": "2026-10",
        "appears_in": MONTH,
        "reason": "an outage",
        "by": "finance",
        "date": DAY,
        **changes,
    }
    return Note.model_validate(values)


def part(day: dt.date, *rows: UsageRow | GpuRow | Orphan, **changes: Any) -> DayPart:
    """A part; its digest tells the day only."""
    values = {"digest": f"sha256:{day:%Y%m%d}", "attention": (), **changes}
    return DayPart(
        day=day,
        usage=tuple(row for row in rows if isinstance(row, UsageRow)),
        gpu=tuple(row for row in rows if isinstance(row, GpuRow)),
        orphans=tuple(row for row in rows if isinstance(row, Orphan)),
        **values,
    )


def parts(rows: Iterable[UsageRow | GpuRow | Orphan]) -> tuple[DayPart, ...]:
    """Parts of the days that rows are of; orphans are of the day of their admission."""
    by_day: dict[dt.date, list[Any]] = {}
    for row in rows:
        day = row.admitted.date() if isinstance(row, Orphan) else row.day
        by_day.setdefault(day, []).append(row)
    return tuple(part(day, *found) for day, found in by_day.items())
