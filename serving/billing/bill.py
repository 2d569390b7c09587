"""From a month of the ledger to what each customer owes."""

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Final, NamedTuple

from serving.billing.errors import BillingError
from serving.billing.prices import PriceTable
from serving.ledger.reader import LedgerCorruptError, read_events
from serving.ledger.records import Event, Intent

CENT: Final = Decimal("0.01")
ROUNDING_RULE: Final = (
    "Lines are exact. Each customer's total is rounded once, half to even, to 0.01; "
    "the sum adds the rounded totals."
)
_MILLION: Final = Decimal(10**6)
# Enough digits that no sum or product of token counts and prices is ever rounded.
_EXACT: Final = Context(prec=60)


class LineKey(NamedTuple):
    """What one line of a bill is about."""

    customer: str
    domain: str
    adapter: str
    """Served model name: an adapter, or a pool's base model."""
    pool: str
    price_from: dt.date
    """First day of the prices that the line was made with."""


@dataclass(frozen=True)
class Usage:
    """Counts of one line."""

    requests: int = 0
    failed: int = 0
    """Requests that ended with a status of 500 or more; none of their tokens is billed."""
    unmeasured: int = 0
    """Other requests whose tokens the model server never reported; nothing is billed for them."""
    input_tokens: int = 0
    """All input tokens, those from the prefix cache included."""
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Line:
    """Usage of one adapter in one pool under one set of prices, and its exact cost."""

    key: LineKey
    usage: Usage
    cost: Decimal


@dataclass(frozen=True)
class CustomerTotal:
    """What one customer owes."""

    customer: str
    requests: int
    cost: Decimal
    """Exact sum of the customer's lines."""
    due: Decimal
    """The same, rounded by `ROUNDING_RULE`."""
    pool_requests: Mapping[str, int]
    """Requests by pool."""


@dataclass(frozen=True)
class Bill:
    """One UTC month."""

    month: str
    currency: str
    lines: tuple[Line, ...]
    customers: tuple[CustomerTotal, ...]
    total: Decimal
    """Sum of what the customers owe."""
    orphans: tuple[Intent, ...]
    """Requests admitted in the month that have no end in the ledger: in flight, or cut off by a
    crash. Their tokens are unknown, so they are named and not billed."""


def month_bounds(month: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the first instants of a month and of the next one, in UTC.

    Raises:
        BillingError: when the text is not `YYYY-MM`.
    """
    match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", month)
    if match is None or match[1] in {"0000", "9999"}:
        raise BillingError(f"month {month!r}: write it as YYYY-MM, such as 2026-11")
    year, number = int(match[1]), int(match[2])
    start = dt.datetime(year, number, 1, tzinfo=dt.UTC)
    end = dt.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=dt.UTC)
    return start, end


def bill(ledger_dir: Path, month: str, prices: PriceTable) -> Bill:
    """Bill one month; a request belongs to the month in which its answer ended, in UTC.

    Args:
        ledger_dir: Folder of the ledger's segments.
        month: `YYYY-MM`.
        prices: The price table.

    Raises:
        BillingError: when the month is malformed, the ledger is missing or damaged, or a request
            has no price.
    """
    start, end = month_bounds(month)
    try:
        events, orphans = read_events(ledger_dir)
    except (FileNotFoundError, LedgerCorruptError) as error:
        raise BillingError(str(error)) from error
    in_month = [event for event in events if start <= instant(event) < end]
    left = [intent for intent in orphans if start <= instant(intent) < end]
    return make_bill(month, in_month, left, prices)


def make_bill(
    month: str, events: Iterable[Event], orphans: Iterable[Intent], prices: PriceTable
) -> Bill:
    """Bill the events of one month. The order of the records does not matter.

    Raises:
        BillingError: when a request has no price.
    """
    usage: defaultdict[LineKey, Usage] = defaultdict(Usage)
    for event in events:
        key = _key(event, prices)
        usage[key] = _add(usage[key], event)
    lines = tuple(Line(key, used, _cost(key, used, prices)) for key, used in sorted(usage.items()))
    customers = tuple(
        _customer_total(name, [line for line in lines if line.key.customer == name])
        for name in sorted({line.key.customer for line in lines})
    )
    return Bill(
        month=month,
        currency=prices.currency,
        lines=lines,
        customers=customers,
        total=_sum(customer.due for customer in customers),
        orphans=tuple(sorted(orphans, key=lambda intent: (intent.ts, intent.request_id))),
    )


def instant(record: Event | Intent) -> dt.datetime:
    """Return a record's time in UTC.

    Raises:
        BillingError: when it is no RFC 3339 time with an offset.
    """
    try:
        moment = dt.datetime.fromisoformat(record.ts)
    except ValueError:
        moment = dt.datetime.min  # noqa: DTZ901 - refused below, as any time without an offset
    if moment.tzinfo is None:
        raise BillingError(
            f"request {record.request_id}: ts {record.ts!r} is not an RFC 3339 time with an offset"
        )
    return moment.astimezone(dt.UTC)


def _key(event: Event, prices: PriceTable) -> LineKey:
    period = prices.at(instant(event).date())
    if event.pool not in period.pools:
        raise BillingError(
            f"request {event.request_id}: no price for pool {event.pool!r} from "
            f"{period.from_day} on; the table has {', '.join(sorted(period.pools))}"
        )
    return LineKey(event.customer, event.domain, event.served_model, event.pool, period.from_day)


def _add(usage: Usage, event: Event) -> Usage:
    counted = replace(usage, requests=usage.requests + 1)
    if event.status >= 500:
        return replace(counted, failed=usage.failed + 1)
    if event.input_tokens is None or event.output_tokens is None:
        return replace(counted, unmeasured=usage.unmeasured + 1)
    cached = event.cached_tokens or 0
    if not 0 <= cached <= event.input_tokens or event.output_tokens < 0:
        raise BillingError(
            f"request {event.request_id}: {cached} cached of {event.input_tokens} input and "
            f"{event.output_tokens} output tokens cannot be: the ledger's writer is at fault"
        )
    return replace(
        counted,
        input_tokens=usage.input_tokens + event.input_tokens,
        cached_tokens=usage.cached_tokens + cached,
        output_tokens=usage.output_tokens + event.output_tokens,
    )


def _cost(key: LineKey, usage: Usage, prices: PriceTable) -> Decimal:
    price = prices.at(key.price_from).pools[key.pool]
    fresh = usage.input_tokens - usage.cached_tokens
    parts = (
        (fresh, price.input),
        (usage.cached_tokens, price.cached_input),
        (usage.output_tokens, price.output),
    )
    total = _sum(_EXACT.multiply(Decimal(tokens), each) for tokens, each in parts)
    return _EXACT.divide(total, _MILLION)


def _customer_total(name: str, lines: list[Line]) -> CustomerTotal:
    cost = _sum(line.cost for line in lines)
    pools: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        pools[line.key.pool] += line.usage.requests
    return CustomerTotal(
        customer=name,
        requests=sum(line.usage.requests for line in lines),
        cost=cost,
        due=cost.quantize(CENT, rounding=ROUND_HALF_EVEN, context=_EXACT),
        pool_requests=dict(sorted(pools.items())),
    )


def _sum(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _EXACT.add(total, value)
    return total
