"""From what was used to a month's statement. No I/O.

Every row of usage ends in an invoice, in the platform's GPU time, or in a named attention.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from serving.billing import money, terms
from serving.billing.counts import total
from serving.billing.customers import (
    Split,
    Use,
    unknown_customers,
    unmeasured_customers,
    unpriced_customers,
)
from serving.billing.errors import BillingError
from serving.billing.lines import (
    gpu_lines,
    period_of,
    run_lines,
    sort_key,
    token_amounts,
    token_lines,
)
from serving.billing.months import days, first_day, month_of
from serving.billing.notes import Note
from serving.billing.platform import platform_lines
from serving.billing.prices import ANY_CUSTOMER, PriceTable
from serving.billing.run_customers import of_their_domains
from serving.billing.statement import NOTE_KINDS, DayTotal, Invoice, Line, Statement
from serving.billing.usage import Attention, Counts, DayPart, GpuRow, Orphan, RunRow, UsageRow

LARGE_POOL: Final = "llm"
SMALL_POOL: Final = "slm"


@dataclass(frozen=True)
class MonthInputs:
    """What a month's statement is made from."""

    month: str
    parts: tuple[DayPart, ...]
    """The month's days; a day without a part had nothing."""
    late: tuple[UsageRow, ...] = ()
    """Use in closed months that no closed month bills."""
    late_gpu: tuple[GpuRow, ...] = ()
    """GPU time of closed months that was reported since, and of months before the first."""
    late_orphans: tuple[Orphan, ...] = ()
    """Requests of closed months that were found without an end since."""
    runs: tuple[RunRow, ...] = ()
    """Jobs of the month, and earlier ones that no closed month bills."""
    notes: tuple[Note, ...] = ()
    attention: tuple[Attention, ...] = ()
    """What was found wrong outside the parts."""
    previous: str | None = None
    """Digest of the month closed before."""


def make_statement(
    inputs: MonthInputs, environment: str, prices: PriceTable, *, closed: bool = False
) -> Statement:
    """Bill a month. The order of the inputs does not matter.

    Raises:
        BillingError: The whole month is before the price table, a pool or GPU type has no price, a
            part is not of the month or there twice, or counts cannot be.
    """
    prices.at(days(inputs.month)[-1])
    parts = _sorted_parts(inputs)
    gpu = [*(row for part in parts for row in part.gpu), *inputs.late_gpu]
    tokens = (*(row for part in parts for row in part.usage), *inputs.late)
    runs, foreign = of_their_domains(inputs.runs, tokens)
    use = Use(tokens=tokens, gpu=tuple(row for row in gpu if row.kind == "used"), runs=runs)
    split = Split.of(use, prices)
    invoices = _invoices(inputs, split.billed, prices)
    return Statement(
        month=inputs.month,
        environment=environment,
        currency=prices.currency,
        closed=closed,
        invoices=invoices,
        platform=platform_lines(
            [*(row for row in gpu if row.kind != "used"), *split.unknown.gpu, *split.unpriced.gpu],
            prices,
        ),
        days=_day_totals(split.billed, inputs.month),
        orphans=_orphans(parts, inputs),
        attention=_attention(
            parts,
            inputs,
            [
                *unknown_customers(split.unknown, prices, inputs.month),
                *unpriced_customers(split.unpriced, prices),
                *unmeasured_customers(invoices),
                *foreign,
            ],
        ),
        total_due=money.add(invoice.due for invoice in invoices),
        price_digest=prices.digest,
        parts={part.day.isoformat(): part.digest for part in parts},
        previous=inputs.previous,
    )


def _sorted_parts(inputs: MonthInputs) -> list[DayPart]:
    parts = sorted(inputs.parts, key=lambda part: part.day)
    counts = Counter(part.day for part in parts)
    for day, count in counts.items():
        if month_of(day) != inputs.month:
            raise BillingError(f"the part of {day} does not belong to {inputs.month}")
        if count > 1:
            raise BillingError(f"there are {count} parts of {day}: a day is billed once")
    return parts


def _invoices(inputs: MonthInputs, use: Use, prices: PriceTable) -> tuple[Invoice, ...]:
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for line in (
        *token_lines(use.tokens, prices, inputs.month),
        *gpu_lines(use.gpu, prices, inputs.month),
        *run_lines(use.runs, prices, inputs.month),
        *(note.line() for note in inputs.notes),
    ):
        lines[line.customer].append(line)
    for customer in _contracted(inputs.month, prices):
        lines.setdefault(customer, [])
    return tuple(
        _invoice(terms.MonthTerms.of(customer, inputs.month, prices), lines[customer], prices)
        for customer in sorted(lines)
    )


def _contracted(month: str, prices: PriceTable) -> list[str]:
    """Customers that owe something whether they ask or not."""
    first = first_day(month)
    agreed = (prices.at(first).customers if first >= prices.begins else None) or {}
    return [
        name
        for name, each in agreed.items()
        if name != ANY_CUSTOMER and (each.monthly_fee or each.minimum)
    ]


def _invoice(agreed: terms.MonthTerms, used: list[Line], prices: PriceTable) -> Invoice:
    lines = sorted(used, key=lambda line: sort_key(line, agreed.month))
    lines += [*terms.fee(agreed), *terms.free_tier(agreed, lines, prices)]
    month_cost = money.add(line.amount for line in lines if line.kind not in NOTE_KINDS)
    lines += terms.top_up(agreed, month_cost)
    lines.sort(key=lambda line: sort_key(line, agreed.month))
    tokens = [line for line in lines if line.kind == "tokens"]
    cost = money.add(line.amount for line in lines)
    all_llm = _all_llm(tokens, prices)
    return Invoice(
        customer=agreed.customer,
        lines=tuple(lines),
        cost=cost,
        due=money.round_due(cost),
        counts=total(line.counts for line in tokens),
        gpu_ms=sum(line.gpu_ms for line in lines if line.kind == "gpu_time"),
        pool_requests=_pool_requests(tokens),
        all_llm_amount=all_llm,
        saved=_saved(tokens, all_llm, prices),
    )


def _pool_requests(tokens: Iterable[Line]) -> dict[str, int]:
    pools: Counter[str] = Counter()
    for line in tokens:
        pools[line.pool or ""] += line.counts.requests
    return dict(sorted(pools.items()))


def _all_llm(tokens: Iterable[Line], prices: PriceTable) -> Decimal | None:
    amounts: list[Decimal] = []
    for line in tokens:
        price = period_of(line, prices).pools.get(LARGE_POOL)
        if price is None:
            return None
        amounts += token_amounts(line.counts, price)
    return money.add(amounts)


def _saved(tokens: Sequence[Line], all_llm: Decimal | None, prices: PriceTable) -> Decimal | None:
    wasted = [_wasted(line, prices) for line in tokens]
    if all_llm is None or None in wasted:
        return None
    spent = [*(line.amount for line in tokens), *(each for each in wasted if each is not None)]
    return money.subtract(all_llm, money.add(spent))


def _wasted(line: Line, prices: PriceTable) -> Decimal | None:
    counts = Counts(
        input_tokens=line.counts.wasted_input_tokens,
        cached_tokens=line.counts.wasted_cached_tokens,
        output_tokens=line.counts.wasted_output_tokens,
    )
    if counts == Counts():
        return money.ZERO
    price = period_of(line, prices).pools.get(SMALL_POOL)
    return None if price is None else money.add(token_amounts(counts, price))


def _day_totals(use: Use, month: str) -> tuple[DayTotal, ...]:
    counts: defaultdict[tuple[dt.date, str, str], list[Counts]] = defaultdict(list)
    gpu_ms: Counter[tuple[dt.date, str, str]] = Counter()
    for row in use.tokens:
        if month_of(row.day) == month:
            counts[row.day, row.customer, row.pool].append(row.counts)
    for used in use.gpu:
        if month_of(used.day) == month:
            gpu_ms[used.day, str(used.customer), used.pool] += used.gpu_ms
    return tuple(
        DayTotal(*key, total(counts.get(key, [])), gpu_ms[key])
        for key in sorted({*counts, *gpu_ms})
    )


def _orphans(parts: Iterable[DayPart], inputs: MonthInputs) -> tuple[Orphan, ...]:
    found = [orphan for part in parts for orphan in part.orphans]
    return tuple(
        sorted(
            [*found, *inputs.late_orphans], key=lambda orphan: (orphan.admitted, orphan.request_id)
        )
    )


def _attention(
    parts: Iterable[DayPart], inputs: MonthInputs, not_billed: Iterable[Attention]
) -> tuple[Attention, ...]:
    found = [each for part in parts for each in part.attention]
    return tuple(
        sorted(
            [*found, *inputs.attention, *not_billed],
            key=lambda each: (each.kind, each.where, each.detail, each.requests),
        )
    )
