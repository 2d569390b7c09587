"""Statements for tests of what is made from a statement; made here, not by the billing code."""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from serving.billing.money import add, of_gpu_time, round_due
from serving.billing.statement import (
    DayTotal,
    Invoice,
    Line,
    LineKind,
    PlatformLine,
    Statement,
)
from serving.billing.usage import Attention, Counts, Orphan

MONTH = "2026-11"
MILLION = Decimal(10**6)
PRICES = {
    "slm": (Decimal("0.10"), Decimal("0.025"), Decimal("0.40")),
    "llm": (Decimal(3), Decimal("0.75"), Decimal(12)),
}


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def token_line(customer: str, domain: str, version: str, pool: str, counts: Counts) -> Line:
    fresh, cached, out = PRICES[pool]
    parts = (
        (counts.input_tokens - counts.cached_tokens) * fresh / MILLION,
        counts.cached_tokens * cached / MILLION,
        counts.output_tokens * out / MILLION,
    )
    return Line(
        kind="tokens",
        customer=customer,
        amount=sum(parts, Decimal(0)),
        month=MONTH,
        domain=domain,
        served_model=f"{domain}-{version}",
        version=version,
        pool=pool,
        price_from=dt.date(2026, 10, 1),
        counts=counts,
        input_amount=parts[0],
        cached_amount=parts[1],
        output_amount=parts[2],
    )


def gpu_line(line: Line, gpu_ms: int) -> Line:
    return Line(
        kind="gpu_time",
        customer=line.customer,
        amount=of_gpu_time(gpu_ms, Decimal("3.6")),
        month=MONTH,
        domain=line.domain,
        served_model=line.served_model,
        version=line.version,
        pool=line.pool,
        price_from=line.price_from,
        gpu_ms=gpu_ms,
        gpu_hour=Decimal("3.6"),
        gpu_type="L40S",
        price_class="on-demand",
    )


def invoice(customer: str, lines: Sequence[Line], *, compare: bool = True) -> Invoice:
    cost = add(line.amount for line in lines)
    tokens = [line for line in lines if line.kind == "tokens"]
    pools: defaultdict[str, int] = defaultdict(int)
    for line in tokens:
        pools[line.pool or ""] += line.counts.requests
    paid = sum((line.amount + _wasted(line.counts) for line in tokens), Decimal(0))
    all_llm = sum((_at_llm(line.counts) for line in tokens), Decimal(0))
    return Invoice(
        customer=customer,
        lines=tuple(lines),
        cost=cost,
        due=round_due(cost),
        counts=add_counts(line.counts for line in tokens),
        gpu_ms=sum(line.gpu_ms for line in lines if line.kind == "gpu_time"),
        pool_requests=dict(sorted(pools.items())),
        all_llm_amount=all_llm if compare else None,
        saved=all_llm - paid if compare else None,
    )


def _at_llm(counts: Counts) -> Decimal:
    fresh, cached, out = PRICES["llm"]
    return (
        (counts.input_tokens - counts.cached_tokens) * fresh
        + counts.cached_tokens * cached
        + counts.output_tokens * out
    ) / MILLION


def _wasted(counts: Counts) -> Decimal:
    fresh, cached, out = PRICES["slm"]
    return (
        (counts.wasted_input_tokens - counts.wasted_cached_tokens) * fresh
        + counts.wasted_cached_tokens * cached
        + counts.wasted_output_tokens * out
    ) / MILLION


def add_counts(rows: Iterable[Counts]) -> Counts:
    sums: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        for name, value in vars(row).items():
            sums[name] += value
    return Counts(**sums)


def statement(*invoices: Invoice, closed: bool = True) -> Statement:
    return Statement(
        month=MONTH,
        environment="production",
        currency="USD",
        closed=closed,
        invoices=invoices,
        platform=(),
        days=(),
        orphans=(),
        attention=(),
        total_due=sum((each.due for each in invoices), Decimal(0)),
        price_digest=digest("prices"),
        parts={},
        previous=None,
    )


def realistic() -> Statement:
    """Three customers, thirty days, a cascade, credits, late use, GPU time, jobs."""
    bank, securities, insurance = (
        "customer-bank-A",
        "customer-securities-B",
        "customer-insurance-C",
    )
    days = [*_days(bank, 3300, 0.72), *_days(securities, 1650, 0.55), *_days(insurance, 1000, 1.0)]
    invoices = (_bank(bank, days), _securities(securities, days), _insurance(insurance, days))
    made = statement(*invoices)
    return replace(
        made,
        days=tuple(days),
        platform=(
            PlatformLine(
                "idle", "llm", "H100", "on-demand", 13_411_207, Decimal("14.901341111111")
            ),
            PlatformLine("idle", "slm", "L40S", "spot", 9_200_118, Decimal("4.600059")),
            PlatformLine("unmeasured", "slm", "L40S", "spot", 601_004, Decimal("0.300502")),
        ),
        orphans=tuple(_orphans(bank)),
        attention=(
            Attention(
                "unknown-customer",
                "events/day=2026-11-09",
                "customer 'bank-a' is in no domain's configuration: correct the name in the "
                "domain stack, or add the customer, then make the day part again",
                17,
            ),
            Attention(
                "invalid-tokens",
                "writer router-1, day 2026-11-21",
                "request 019ac1d2f3a40b7c8d9e0f1a2b3c4d5e has 512 cached of 500 input tokens: "
                "the model server's report cannot be",
                1,
            ),
        ),
        parts={day.day.isoformat(): digest(f"part {day.day}") for day in days},
        previous=digest("closed/2026-10.json"),
    )


def _days(customer: str, requests: int, slm_share: float) -> list[DayTotal]:
    made = []
    for number in range(1, 31):
        day = dt.date(2026, 11, number)
        quiet = 0.25 if day.weekday() >= 5 else 1.0
        total = int(requests * quiet * (1 + 0.25 * ((number * 7) % 11 - 5) / 5))
        slm = int(total * slm_share)
        for pool, part in (("slm", slm), ("llm", total - slm)):
            if part:
                made.append(DayTotal(day, customer, pool, _counts(part), part * 480))
    return made


def _counts(requests: int) -> Counts:
    return Counts(
        requests=requests,
        failed=requests // 900,
        unmeasured=requests // 1700,
        input_tokens=requests * 4211,
        cached_tokens=requests * 1307,
        output_tokens=requests * 803,
    )


def _used(days: Sequence[DayTotal], customer: str, pool: str) -> Counts:
    return add_counts(day.counts for day in days if day.customer == customer and day.pool == pool)


def _bank(customer: str, days: Sequence[DayTotal]) -> Invoice:
    llm = replace(
        _used(days, customer, "llm"),
        wasted_input_tokens=31_204_118,
        wasted_cached_tokens=11_027_420,
        wasted_output_tokens=6_004_771,
    )
    slm = _used(days, customer, "slm")
    canary = replace(slm, requests=slm.requests // 10, failed=3, unmeasured=0)
    tokens = (
        token_line(customer, "bank-ledger", "v1.2", "llm", llm),
        token_line(customer, "bank-ledger", "v1.2", "slm", slm),
        replace(
            token_line(customer, "bank-ledger", "v1.3", "slm", canary), experiment="canary-v1.3"
        ),
    )
    late = token_line(customer, "bank-ledger", "v1.1", "slm", _counts(212))
    return invoice(
        customer,
        (
            *tokens,
            *(gpu_line(line, line.counts.requests * 480) for line in tokens),
            _job("training", customer, "bank-ledger", 7_204_113, "train-20261104-0007"),
            _job("evaluation", customer, "bank-ledger", 1_810_500, "gate-20261104-0011"),
            _fee("flat_fee", customer, Decimal("250.00"), "platform fee"),
            replace(
                _fee("free_tier", customer, Decimal("-1.00"), ""),
                pool="slm",
                counts=Counts(input_tokens=10_000_000),
                input_amount=Decimal("-1.00"),
            ),
            replace(
                _fee("credit", customer, Decimal("-112.50"), "outage of 2026-10-14, 45 minutes"),
                reference="CN-2026-0031",
                month="2026-10",
            ),
            replace(
                late,
                month="2026-10",
                note="shipped after the close",
                price_from=dt.date(2026, 10, 1),
            ),
        ),
    )


def _securities(customer: str, days: Sequence[DayTotal]) -> Invoice:
    tokens = tuple(
        token_line(customer, domain, "v2.0", pool, _used(days, customer, pool))
        for domain, pool in (("securities-research", "llm"), ("securities-research", "slm"))
    )
    return invoice(
        customer,
        (
            *tokens,
            *(gpu_line(line, line.counts.requests * 480) for line in tokens),
            _fee("flat_fee", customer, Decimal("250.00"), "platform fee"),
        ),
    )


def _insurance(customer: str, days: Sequence[DayTotal]) -> Invoice:
    line = token_line(customer, "insurance-claims", "v1.0", "slm", _used(days, customer, "slm"))
    return invoice(
        customer,
        (
            line,
            gpu_line(line, line.counts.requests * 480),
            _fee("minimum", customer, Decimal("417.235"), "up to the monthly minimum of 500.00"),
        ),
        compare=False,
    )


def _job(kind: LineKind, customer: str, domain: str, gpu_ms: int, run: str) -> Line:
    return Line(
        kind=kind,
        customer=customer,
        amount=of_gpu_time(gpu_ms, Decimal("1.8")),
        month=MONTH,
        domain=domain,
        gpu_ms=gpu_ms,
        gpu_hour=Decimal("1.8"),
        gpu_type="H100",
        price_class="spot",
        reference=run,
    )


def _fee(kind: LineKind, customer: str, amount: Decimal, note: str) -> Line:
    return Line(kind=kind, customer=customer, amount=amount, month=MONTH, note=note)


def _orphans(customer: str) -> Iterable[Orphan]:
    for number in range(3):
        yield Orphan(
            request_id=hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest(),
            admitted=dt.datetime(2026, 11, 17, 9, 41, number, 250_000, tzinfo=dt.UTC),
            customer=customer,
            domain="bank-ledger",
            served_model="bank-ledger-v1.2",
            pool="slm",
            writer="router-0",
        )
