"""Lines of invoices from usage: what was used, times the prices of its day. No I/O.

Amounts are exact; see `serving.billing.money` for GPU time. Wasted tokens are not billed: the
router, not the customer, decided to ask twice.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple, get_args

from serving.billing import money
from serving.billing.counts import total
from serving.billing.errors import BillingError
from serving.billing.months import month_of
from serving.billing.prices import PoolPrices, PricePeriod, PriceTable
from serving.billing.statement import Line, LineKind
from serving.billing.usage import Counts, GpuRow, PriceClass, RunRow, UsageRow

_KINDS: Final[tuple[LineKind, ...]] = get_args(LineKind)


class _TokenKey(NamedTuple):
    customer: str
    domain: str
    served_model: str
    version: str | None
    pool: str
    experiment: str | None
    month: str
    price_from: dt.date


class _GpuKey(NamedTuple):
    customer: str
    domain: str | None
    served_model: str | None
    pool: str
    gpu_type: str
    price_class: PriceClass
    month: str
    price_from: dt.date


def token_lines(rows: Iterable[UsageRow], prices: PriceTable, month: str) -> list[Line]:
    """Return one line for each customer, domain, adapter, pool, arm, month of use and price period.

    Raises:
        BillingError: A day or pool has no price, or counts cannot be.
    """
    grouped: defaultdict[_TokenKey, list[Counts]] = defaultdict(list)
    for row in rows:
        _refuse_impossible(row)
        key = _TokenKey(
            row.customer,
            row.domain,
            row.served_model,
            row.version,
            row.pool,
            row.experiment,
            month_of(row.day),
            prices.at(row.day).from_day,
        )
        grouped[key].append(row.counts)
    return [_token_line(key, total(counts), prices, month) for key, counts in grouped.items()]


def gpu_lines(rows: Iterable[GpuRow], prices: PriceTable, month: str) -> list[Line]:
    """Return one line for each customer, domain, adapter, pool, kind of GPU and price period.

    Args:
        rows: Rows of kind `used`.
        prices: The price table.
        month: `YYYY-MM` of the statement.

    Raises:
        BillingError: A day or pool has no price, or a row cannot be.
    """
    grouped: defaultdict[_GpuKey, int] = defaultdict(int)
    for row in rows:
        if row.customer is None:
            raise BillingError(f"{row.day}, pod {row.pod}: GPU time used by nobody cannot be")
        key = _GpuKey(
            row.customer,
            row.domain,
            row.served_model,
            row.pool,
            row.gpu_type,
            row.price_class,
            month_of(row.day),
            prices.at(row.day).from_day,
        )
        grouped[key] += gpu_time(row)
    return [_gpu_line(key, gpu_ms, prices, month) for key, gpu_ms in grouped.items()]


def run_lines(runs: Iterable[RunRow], prices: PriceTable, month: str) -> list[Line]:
    """Return one line for each job that held GPUs.

    Raises:
        BillingError: A day or GPU type has no price, or GPU time is negative.
    """
    return [_run_line(run, prices, month) for run in runs if run.gpu_ms]


def sort_key(line: Line, month: str) -> tuple[object, ...]:
    """Order of an invoice: by kind, the month's own lines before late ones, then by what they are.

    It tells any two lines of a customer apart, so that their order depends on nothing else.
    """
    texts = (line.domain, line.served_model, line.version, line.pool, line.experiment)
    return (
        _KINDS.index(line.kind),
        line.month != month,
        line.month,
        *((text is not None, text or "") for text in texts),
        line.price_from.isoformat() if line.price_from else "",
        line.gpu_type or "",
        line.price_class or "",
        line.reference or "",
    )


def period_of(line: Line, prices: PriceTable) -> PricePeriod:
    """Return the prices that a line was made with.

    Raises:
        BillingError: It was made with none, as a note is.
    """
    if line.price_from is None:
        raise BillingError(f"a line of kind {line.kind} has no prices")
    return prices.at(line.price_from)


def token_amounts(counts: Counts, price: PoolPrices) -> tuple[Decimal, Decimal, Decimal]:
    """Return what uncached input, cached input and output tokens cost."""
    return (
        money.of_tokens(counts.input_tokens - counts.cached_tokens, price.input),
        money.of_tokens(counts.cached_tokens, price.cached_input),
        money.of_tokens(counts.output_tokens, price.output),
    )


def gpu_amount(gpu_ms: int, gpu_hour: Decimal | None) -> Decimal:
    """Return what GPU time of a pool costs; nothing where the pool has no price for it."""
    return money.ZERO if gpu_hour is None else money.of_gpu_time(gpu_ms, gpu_hour)


def gpu_time(row: GpuRow) -> int:
    """Return a row's GPU time in milliseconds.

    Raises:
        BillingError: It is negative.
    """
    if row.gpu_ms < 0:
        raise BillingError(f"{row.day}, pod {row.pod}: {row.gpu_ms} GPU-milliseconds cannot be")
    return row.gpu_ms


def late_note(used_in: str, month: str) -> str:
    """Return what a line says of use in an earlier month than the statement's."""
    return "" if used_in == month else f"used in {used_in}; arrived after that month was closed"


def _token_line(key: _TokenKey, counts: Counts, prices: PriceTable, month: str) -> Line:
    fresh, cached, output = token_amounts(counts, prices.at(key.price_from).pool(key.pool))
    return Line(
        kind="tokens",
        **key._asdict(),
        counts=counts,
        amount=money.add((fresh, cached, output)),
        input_amount=fresh,
        cached_amount=cached,
        output_amount=output,
        note=late_note(key.month, month),
    )


def _gpu_line(key: _GpuKey, gpu_ms: int, prices: PriceTable, month: str) -> Line:
    gpu_hour = prices.at(key.price_from).pool(key.pool).gpu_hour
    return Line(
        kind="gpu_time",
        **key._asdict(),
        gpu_ms=gpu_ms,
        gpu_hour=gpu_hour,
        amount=gpu_amount(gpu_ms, gpu_hour),
        note=late_note(key.month, month),
    )


def _run_line(run: RunRow, prices: PriceTable, month: str) -> Line:
    if run.gpu_ms < 0:
        raise BillingError(f"run {run.run_id}: {run.gpu_ms} GPU-milliseconds cannot be")
    period = prices.at(run.day)
    per_hour = period.run(run.gpu_type).of(run.price_class)
    used_in = month_of(run.day)
    return Line(
        kind=run.kind,
        customer=run.customer,
        amount=money.of_gpu_time(run.gpu_ms, per_hour),
        month=used_in,
        domain=run.domain,
        price_from=period.from_day,
        gpu_ms=run.gpu_ms,
        gpu_hour=per_hour,
        gpu_type=run.gpu_type,
        price_class=run.price_class,
        reference=run.run_id,
        note=late_note(used_in, month),
    )


def _refuse_impossible(row: UsageRow) -> None:
    counts = row.counts
    if 0 <= counts.cached_tokens <= counts.input_tokens and counts.output_tokens >= 0:
        return
    raise BillingError(
        f"{row.day}, customer {row.customer}, {row.served_model} in pool {row.pool}: "
        f"{counts.cached_tokens} cached of {counts.input_tokens} input and "
        f"{counts.output_tokens} output tokens cannot be"
    )
