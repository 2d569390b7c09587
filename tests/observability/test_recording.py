"""Prices in the recording rules are those of the price table."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from observability.recording import TOKEN_PRICE, recording_rules
from observability.rules import RecordingRule
from serving.billing.prices import PriceTable

_SPAN = re.compile(
    r"\(vector\((?P<price>[0-9.]+)\) and on \(\)"
    r" \(vector\(time\(\)\) >= (?P<start>\d+)(?: < (?P<end>\d+))?\)\)"
)

_prices = st.decimals(min_value=0, max_value=1000, places=6).map(lambda price: f"{price:f}")
_pool = st.fixed_dictionaries(dict.fromkeys(("input", "cached_input", "output"), _prices))
_days = st.lists(
    st.dates(date(2025, 1, 1), date(2027, 12, 31)), min_size=1, max_size=4, unique=True
).map(sorted)


@st.composite
def tables(draw: st.DrawFn) -> PriceTable:
    periods = [
        {"from": day, "pools": {name: draw(_pool) for name in draw(_pools)}} for day in draw(_days)
    ]
    return PriceTable.model_validate({"currency": "EUR", "prices": periods})


_pools = st.sets(st.sampled_from(["slm", "llm"]), min_size=1)


def _price_rules(table: PriceTable) -> list[RecordingRule]:
    rules = [rule for rule in recording_rules(table).rules if isinstance(rule, RecordingRule)]
    return [rule for rule in rules if rule.record == TOKEN_PRICE]


def _at(rule: RecordingRule, day: date) -> list[Decimal]:
    """What the expression gives at noon of a day: the spans that hold then."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    spans = [_SPAN.fullmatch(text) for text in rule.expr.split(" or ")]
    assert all(spans), rule.expr
    return [
        Decimal(span["price"])
        for span in spans
        if span and int(span["start"]) <= noon < int(span["end"] or 2**40)
    ]


@given(table=tables(), day=st.dates(date(2025, 1, 1), date(2028, 12, 31)))
def test_a_token_costs_what_the_table_says_that_day(table: PriceTable, day: date) -> None:
    begun = day >= table.prices[0].from_day
    for rule in _price_rules(table):
        pool = table.at(day).pools.get(rule.labels["pool"]) if begun else None
        expected = [] if pool is None else [getattr(pool, rule.labels["kind"]) / 1_000_000]
        assert _at(rule, day) == expected


@given(tables())
def test_each_pool_and_kind_has_one_series(table: PriceTable) -> None:
    labels = [tuple(sorted(rule.labels.items())) for rule in _price_rules(table)]
    assert len(set(labels)) == len(labels)
    pools = {pool for period in table.prices for pool in period.pools}
    assert len(labels) == 3 * len(pools)
