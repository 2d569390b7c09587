"""Recording rules: the error ratio, and what tokens cost by the price table."""

import datetime as dt
import itertools
from decimal import Decimal

from observability.rules import RecordingRule, RuleGroup
from serving.billing.prices import PricePeriod, PriceTable

ERROR_RATIO = "namespace:router_requests:error_ratio5m"
TOKEN_PRICE = "pool_kind:token_price:current"  # noqa: S105  a series, not a password
TOKEN_COST = "customer_pool:token_cost:rate5m"  # noqa: S105

_KINDS = ("input", "cached_input", "output")
"""Kinds of tokens; the router counts them and the price table prices them under these names."""
_PRICED_TOKENS = Decimal(1_000_000)


def recording_rules(prices: PriceTable) -> RuleGroup:
    """Every recorded series."""
    return RuleGroup(
        name="pipeline-recording", rules=(_error_ratio(), *_price_rules(prices), _token_cost())
    )


def _error_ratio() -> RecordingRule:
    return RecordingRule(
        record=ERROR_RATIO,
        expr=(
            'sum by (namespace) (rate(router_requests_total{status=~"5.."}[5m]))'
            " / sum by (namespace) (rate(router_requests_total[5m]))"
        ),
    )


def _price_rules(prices: PriceTable) -> list[RecordingRule]:
    """One series for each pool and kind of token: currency for one token, today."""
    pools = sorted({pool for period in prices.prices for pool in period.pools})
    return [
        RecordingRule(
            record=TOKEN_PRICE,
            expr=_price_over_time(prices, pool, kind),
            labels={"pool": pool, "kind": kind, "currency": prices.currency},
        )
        for pool in pools
        for kind in _KINDS
    ]


def _price_over_time(prices: PriceTable, pool: str, kind: str) -> str:
    """The price, by the clock: a period that begins later needs no new rules."""
    ends = [period.from_day for period in prices.prices[1:]]
    spans = itertools.zip_longest(prices.prices, ends)
    return " or ".join(
        f"(vector({_price(period, pool, kind)}) and on () {_within(period.from_day, end)})"
        for period, end in spans
        if pool in period.pools
    )


def _price(period: PricePeriod, pool: str, kind: str) -> str:
    price: Decimal = getattr(period.pools[pool], kind)
    return f"{price / _PRICED_TOKENS:f}"


def _within(start: dt.date, end: dt.date | None) -> str:
    until = "" if end is None else f" < {_timestamp(end)}"
    return f"(vector(time()) >= {_timestamp(start)}{until})"


def _timestamp(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())


def _token_cost() -> RecordingRule:
    """An estimate: tokens by price, in floating point, without fees, minimums and free tiers."""
    return RecordingRule(
        record=TOKEN_COST,
        expr=(
            "sum by (namespace, customer, pool, currency) (rate(router_tokens_total[5m])"
            f" * on (pool, kind) group_left (currency) {TOKEN_PRICE})"
        ),
    )
