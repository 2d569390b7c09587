"""Lines that follow from what was agreed with a customer. No I/O.

The terms of a month are those of its first day, whatever prices begin within it.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from serving.billing import money
from serving.billing.lines import period_of, token_amounts
from serving.billing.months import first_day
from serving.billing.prices import NO_TERMS, CustomerTerms, FreeTokens, PoolPrices, PriceTable
from serving.billing.statement import Line
from serving.billing.usage import Counts


@dataclass(frozen=True)
class MonthTerms:
    """The terms of one customer in one month."""

    customer: str
    month: str
    price_from: dt.date
    terms: CustomerTerms

    @classmethod
    def of(cls, customer: str, month: str, prices: PriceTable) -> "MonthTerms":
        """Look the terms up; who is not known on the first day, or has no prices, has none yet."""
        first = first_day(month)
        if first < prices.begins:
            return cls(customer, month, prices.begins, NO_TERMS)
        period = prices.at(first)
        return cls(customer, month, period.from_day, period.terms(customer) or NO_TERMS)


def fee(agreed: MonthTerms) -> list[Line]:
    """Return the flat fee as a line, where there is one."""
    if not agreed.terms.monthly_fee:
        return []
    line = Line(
        kind="flat_fee",
        customer=agreed.customer,
        amount=agreed.terms.monthly_fee,
        month=agreed.month,
        price_from=agreed.price_from,
    )
    return [line]


def free_tier(agreed: MonthTerms, lines: Sequence[Line], prices: PriceTable) -> list[Line]:
    """Return what free tokens give back, one negative line for each line of tokens they reach.

    The tokens of a pool go to its lines in the order given, which is the invoice's: the month's own
    use before late use. Within a line uncached input goes before cached input. They are worth what
    the line's tokens cost.
    """
    given: list[Line] = []
    for pool, allowance in sorted(agreed.terms.free_tokens.items()):
        reached = [line for line in lines if line.kind == "tokens" and line.pool == pool]
        given += [
            _negative(line, covered, period_of(line, prices).pool(pool))
            for line, covered in _allocate(reached, allowance)
        ]
    return given


def top_up(agreed: MonthTerms, cost: Decimal) -> list[Line]:
    """Return what is missing to the minimum as a line, given what the other lines cost."""
    minimum = agreed.terms.minimum
    if cost >= minimum:
        return []
    line = Line(
        kind="minimum",
        customer=agreed.customer,
        amount=money.subtract(minimum, cost),
        month=agreed.month,
        price_from=agreed.price_from,
        note=f"up to the monthly minimum of {money.plain(minimum)}",
    )
    return [line]


def _allocate(lines: Iterable[Line], allowance: FreeTokens) -> Iterator[tuple[Line, Counts]]:
    left_input, left_output = allowance.input, allowance.output
    for line in lines:
        fresh = min(line.counts.input_tokens - line.counts.cached_tokens, left_input)
        cached = min(line.counts.cached_tokens, left_input - fresh)
        output = min(line.counts.output_tokens, left_output)
        left_input -= fresh + cached
        left_output -= output
        if fresh or cached or output:
            yield (
                line,
                Counts(input_tokens=fresh + cached, cached_tokens=cached, output_tokens=output),
            )


def _negative(line: Line, covered: Counts, price: PoolPrices) -> Line:
    fresh, cached, output = map(money.negative, token_amounts(covered, price))
    return replace(
        line,
        kind="free_tier",
        amount=money.add((fresh, cached, output)),
        counts=covered,
        input_amount=fresh,
        cached_amount=cached,
        output_amount=output,
        note="free tokens",
    )
