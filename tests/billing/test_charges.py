"""Statements from parts that tests make."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.billing import money
from serving.billing.charges import MonthInputs, make_statement
from serving.billing.counts import total
from serving.billing.errors import BillingError
from serving.billing.prices import PriceTable
from serving.billing.render import render_json
from serving.billing.statement import Invoice, Line, Statement
from serving.billing.usage import Counts, GpuRow, RunRow, UsageRow
from tests.billing.builders import (
    CUSTOMER,
    DAY,
    MONTH,
    POOLS,
    counts,
    gpu,
    note,
    orphan,
    part,
    parts,
    run,
    table,
    usage,
)

GUIDE_HOUR_MS = 3_600_000


def made(*rows: UsageRow | GpuRow, prices: PriceTable | None = None, **inputs: Any) -> Statement:
    return make_statement(MonthInputs(MONTH, parts(rows), **inputs), "test", prices or table())


def lines(statement: Statement, kind: str | None = None) -> list[Line]:
    return [
        line
        for invoice in statement.invoices
        for line in invoice.lines
        if kind in {None, line.kind}
    ]


def test_a_line_is_fresh_cached_and_output_tokens_times_their_prices() -> None:
    (line,) = lines(made(usage(counts(1, (1000, 400, 200)))))
    # 600 fresh at 0.10, 400 cached at 0.025 and 200 output at 0.40 per million.
    assert line.amount == Decimal("0.00015")
    assert (line.input_amount, line.cached_amount, line.output_amount) == (
        Decimal("0.00006"),
        Decimal("0.00001"),
        Decimal("0.00008"),
    )


def test_the_guides_table() -> None:
    free = {"input": "0", "cached_input": "0", "output": "0", "gpu_hour": "50"}
    customers = {
        "Bank A": (100_000, 500_000_000, 50),
        "Securities B": (50_000, 250_000_000, 25),
        "Insurance C": (30_000, 150_000_000, 15),
    }
    rows: list[UsageRow | GpuRow] = []
    for name, (requests, tokens, hours) in customers.items():
        rows.append(usage(counts(requests, (tokens - 1, 0, 1)), customer=name))
        rows.append(gpu(hours * GUIDE_HOUR_MS, customer=name))
    statement = made(*rows, prices=table(pools={"slm": free}))
    assert {invoice.customer: invoice.due for invoice in statement.invoices} == {
        "Bank A": Decimal("2500.00"),
        "Securities B": Decimal("1250.00"),
        "Insurance C": Decimal("750.00"),
    }
    assert statement.total_due == Decimal("4500.00")
    assert {invoice.customer: invoice.gpu_ms for invoice in statement.invoices} == {
        name: hours * GUIDE_HOUR_MS for name, (_, _, hours) in customers.items()
    }


def test_a_price_change_within_the_month_splits_the_line() -> None:
    later = {"from": "2026-11-15", "pools": {"slm": {**POOLS["slm"], "input": "0.20"}}}
    used = counts(1, (1_000_000, 0, 0))
    statement = made(
        usage(used, day=dt.date(2026, 11, 14)),
        usage(used, day=dt.date(2026, 11, 15)),
        prices=table(later),
    )
    assert [(str(line.price_from), line.amount) for line in lines(statement)] == [
        ("2026-01-01", Decimal("0.10")),
        ("2026-11-15", Decimal("0.20")),
    ]


def test_days_of_one_price_are_one_line() -> None:
    used = counts(2, (10, 5, 1))
    (line,) = lines(made(usage(used), usage(used, day=DAY + dt.timedelta(days=1))))
    assert line.counts == counts(4, (20, 10, 2))


def test_a_total_is_rounded_once_half_to_even() -> None:
    # At 3 per million, 5,000 tokens are 0.015 and 15,000 are 0.045: both lie half-way.
    rows = [
        usage(counts(1, (tokens, 0, 0)), customer=name, served_model=model, pool="llm")
        for name, total in (("a", 5_000), ("b", 15_000))
        for model, tokens in (("m1", total // 2), ("m2", total - total // 2))
    ]
    statement = made(*rows)
    assert [invoice.due for invoice in statement.invoices] == [Decimal("0.02"), Decimal("0.04")]
    assert statement.total_due == Decimal("0.06")


def test_pools_are_split_by_requests() -> None:
    statement = made(usage(counts(3)), usage(counts(1), pool="llm"))
    assert dict(statement.invoices[0].pool_requests) == {"llm": 1, "slm": 3}


def test_the_cascade_saves_the_difference_to_llm_prices_less_what_it_wasted() -> None:
    wasted = {"wasted_input_tokens": 1_000_000, "wasted_output_tokens": 1_000_000}
    statement = made(
        usage(counts(7, (7_000_000, 0, 0))),
        usage(counts(3, (3_000_000, 0, 0), **wasted), pool="llm"),
    )
    (invoice,) = statement.invoices
    # 7 and 3 million tokens: 0.70 and 9.00 billed, 30.00 in llm alone, 0.10 + 0.40 wasted in slm.
    assert invoice.cost == Decimal("9.70")
    assert invoice.all_llm_amount == Decimal(30)
    assert invoice.saved == Decimal(30) - Decimal("9.70") - Decimal("0.50")


def test_without_an_llm_price_nothing_is_said_of_savings() -> None:
    (invoice,) = made(
        usage(counts(1, (10, 0, 0))), prices=table(pools={"slm": POOLS["slm"]})
    ).invoices
    assert invoice.all_llm_amount is None
    assert invoice.saved is None


def test_gpu_time_without_a_price_is_shown_and_free() -> None:
    statement = made(gpu(1000), gpu(500, kind="idle"))
    (line,) = lines(statement)
    assert (line.kind, line.gpu_ms, line.amount, line.gpu_hour) == ("gpu_time", 1000, 0, None)
    assert [(each.gpu_ms, each.amount) for each in statement.platform] == [(500, 0)]


def test_training_and_evaluation_are_billed_by_how_the_gpu_was_bought() -> None:
    prices = table(runs={"H100": {"spot": "2.50", "on-demand": "6.00"}})
    statement = made(
        prices=prices,
        runs=(
            run(2 * GUIDE_HOUR_MS),
            run(GUIDE_HOUR_MS, run_id="e", kind="evaluation", price_class="on-demand"),
            run(0, run_id="cpu", gpu_type="none"),
        ),
    )
    assert [(line.kind, line.reference, line.amount) for line in lines(statement)] == [
        ("training", "train-slm-3f2a9c41b07d", Decimal(5)),
        ("evaluation", "e", Decimal(6)),
    ]
    assert statement.invoices[0].gpu_ms == 0


def test_a_fee_a_minimum_and_free_tokens_by_the_terms_of_the_first_day() -> None:
    terms = {
        "monthly_fee": "1.00",
        "minimum": "5.00",
        "free_tokens": {"slm": {"input": 1_500_000, "output": 100_000}},
    }
    later = {"from": "2026-11-02", "pools": POOLS, "customers": {CUSTOMER: {}}}
    statement = made(
        # 1 million fresh and 1 million cached input, 0.1 million output.
        usage(counts(1, (2_000_000, 1_000_000, 100_000))),
        prices=table(later, customers={CUSTOMER: terms}),
    )
    assert [(line.kind, line.amount) for line in lines(statement)] == [
        ("tokens", Decimal("0.165")),
        ("flat_fee", Decimal("1.00")),
        # All fresh input, half of the cached, all output.
        ("free_tier", Decimal("-0.1525")),
        ("minimum", Decimal("5.00") - Decimal("1.0125")),
    ]
    (free,) = lines(statement, "free_tier")
    assert free.counts == Counts(
        input_tokens=1_500_000, cached_tokens=500_000, output_tokens=100_000
    )
    assert statement.invoices[0].counts == counts(1, (2_000_000, 1_000_000, 100_000))


def test_free_tokens_go_to_lines_in_the_invoices_order_and_late_use_comes_last() -> None:
    prices = table(customers={CUSTOMER: {"free_tokens": {"slm": {"input": 150}}}})
    used = counts(1, (100, 0, 0))
    statement = made(
        usage(used, domain="b"),
        usage(used, domain="c", pool="llm"),
        prices=prices,
        late=(usage(used, domain="a", day=dt.date(2026, 10, 31)),),
    )
    free = [(line.month, line.domain, line.counts) for line in lines(statement, "free_tier")]
    assert free == [
        ("2026-11", "b", Counts(input_tokens=100)),
        ("2026-10", "a", Counts(input_tokens=50)),
    ]


def test_a_customer_owes_fee_and_minimum_without_asking_anything() -> None:
    statement = made(
        prices=table(customers={"quiet": {"minimum": "9.99"}, "none": {}, "*": {"minimum": "1"}})
    )
    assert [(each.customer, each.due) for each in statement.invoices] == [
        ("quiet", Decimal("9.99"))
    ]


def test_use_of_an_unknown_customer_is_named_and_not_billed() -> None:
    prices = table(pools={"slm": {**POOLS["slm"], "gpu_hour": "3.6"}}, customers={CUSTOMER: {}})
    statement = made(
        usage(counts(1, (1_000_000, 0, 0))),
        usage(counts(2, (2_000_000, 0, 0)), customer="stranger"),
        gpu(1_000_000, customer="stranger"),
        prices=prices,
    )
    assert [invoice.customer for invoice in statement.invoices] == [CUSTOMER]
    assert statement.total_due == Decimal("0.10")
    (found,) = statement.attention
    assert (found.kind, found.where, found.requests) == ("unknown-customer", "stranger", 2)
    assert "2000000 input" in found.detail
    assert "would cost 1.20 USD" in found.detail
    assert [(each.kind, each.gpu_ms, each.amount) for each in statement.platform] == [
        ("unbilled", 1_000_000, Decimal(1))
    ]
    assert {day.customer for day in statement.days} == {CUSTOMER}


def test_anybody_is_billed_where_the_table_has_a_star() -> None:
    statement = made(
        usage(counts(1, (1_000_000, 0, 0)), customer="stranger"),
        prices=table(customers={"*": {"monthly_fee": "2"}}),
    )
    assert [(each.customer, each.due) for each in statement.invoices] == [
        ("stranger", Decimal("2.10"))
    ]
    assert statement.attention == ()


def test_late_use_has_the_price_of_its_day_and_says_so() -> None:
    later = {"from": "2026-11-01", "pools": {"slm": {**POOLS["slm"], "input": "9"}}}
    late = usage(counts(1, (1_000_000, 0, 0)), day=dt.date(2026, 10, 31))
    statement = made(prices=table(later), late=(late,))
    (line,) = lines(statement)
    assert (line.month, line.amount) == ("2026-10", Decimal("0.10"))
    assert "used in 2026-10" in line.note
    assert statement.days == ()


def test_notes_are_lines_outside_of_the_minimum_and_may_turn_the_invoice() -> None:
    statement = made(
        usage(counts(1, (1_000_000, 0, 0))),
        notes=(note("2.50"), note("0.75", kind="debit", id="2026-10-0002")),
        prices=table(customers={CUSTOMER: {"minimum": "1.00"}}),
    )
    assert [line.amount for line in lines(statement, "minimum")] == [Decimal("0.90")]
    assert [line.amount for line in lines(statement, "credit")] == [Decimal("-2.50")]
    assert [line.amount for line in lines(statement, "debit")] == [Decimal("0.75")]
    assert statement.total_due == Decimal("-0.75")


def test_orphans_and_attention_of_the_parts_are_in_the_statement() -> None:
    first, second = orphan("r1"), orphan("r0", admitted=dt.datetime(2026, 11, 4, tzinfo=dt.UTC))
    statement = make_statement(MonthInputs(MONTH, parts([second, first])), "test", table())
    assert statement.orphans == (first, second)
    assert statement.invoices == ()
    assert list(statement.parts) == ["2026-11-03", "2026-11-04"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (usage(counts(1), pool="mlm"), "no price for pool 'mlm' from 2026-01-01 on"),
        (usage(counts(1, (10, 11, 0))), "11 cached of 10 input"),
        (usage(counts(1, (10, 0, -1))), "-1 output tokens cannot be"),
        (gpu(-1), "-1 GPU-milliseconds cannot be"),
        (gpu(1, customer=None), "used by nobody cannot be"),
        (run(1), "no price for jobs on GPU 'H100'"),
        (run(-1), "-1 GPU-milliseconds cannot be"),
    ],
)
def test_what_has_no_price_or_cannot_be_stops_the_bill(row: Any, message: str) -> None:
    with pytest.raises(BillingError, match=message):
        made(runs=(row,)) if isinstance(row, RunRow) else made(row)


def test_use_before_the_table_is_named_and_stops_nobodys_bill() -> None:
    first = {"from": "2026-11-03", "pools": {"slm": {**POOLS["slm"], "gpu_hour": "3.6"}}}
    prices = table(**first, customers={CUSTOMER: {"monthly_fee": "5"}, "*": {}})
    before = dt.date(2026, 11, 2)
    statement = made(
        usage(counts(1, (1_000_000, 0, 0))),
        usage(counts(2, (7, 0, 3)), day=before, customer="early"),
        gpu(500, day=before, customer="early"),
        gpu(1_000_000, day=before, kind="idle"),
        gpu(1_000_000, kind="idle"),
        prices=prices,
        late=(usage(counts(4, (9, 0, 0)), day=dt.date(2026, 10, 31), customer="early"),),
        runs=(run(250, day=before),),
    )
    # Terms are those of the month's first day, which has none.
    assert [(each.customer, each.due) for each in statement.invoices] == [
        (CUSTOMER, Decimal("0.10"))
    ]
    own, early = statement.attention
    assert (own.kind, own.where, own.requests) == ("no-price", CUSTOMER, 0)
    assert "250 GPU-milliseconds" in own.detail
    assert (early.kind, early.where, early.requests) == ("no-price", "early", 6)
    assert "begins on 2026-11-03" in early.detail
    assert "16 input and 3 output tokens and 500 GPU-milliseconds" in early.detail
    assert [(each.kind, each.gpu_ms, each.amount) for each in statement.platform] == [
        ("idle", 2_000_000, Decimal(1)),
        ("unbilled", 500, Decimal(0)),
    ]
    assert {day.customer for day in statement.days} == {CUSTOMER}


def test_requests_that_nobody_measured_are_named_for_each_customer() -> None:
    statement = made(
        usage(Counts(requests=400, unmeasured=3)),
        usage(Counts(requests=100, unmeasured=2), pool="llm"),
        usage(counts(7), customer="b"),
    )
    (found,) = statement.attention
    assert (found.kind, found.where, found.requests) == ("unmeasured", CUSTOMER, 5)
    assert "tokens of 5 of 500 requests" in found.detail


def test_a_month_before_the_table_stops_the_bill() -> None:
    with pytest.raises(BillingError, match="no price for 2025-12-31: the table begins on 2026-01"):
        make_statement(MonthInputs("2025-12", ()), "test", table())


def test_parts_of_another_month_or_two_of_one_day_stop_the_bill() -> None:
    other = part(dt.date(2026, 12, 1))
    with pytest.raises(BillingError, match="2026-12-01 does not belong to 2026-11"):
        make_statement(MonthInputs(MONTH, (other,)), "test", table())
    with pytest.raises(BillingError, match="2 parts of 2026-11-03"):
        make_statement(MonthInputs(MONTH, (part(DAY), part(DAY))), "test", table())


_PERIODS: dict[str, Any] = {
    "later": {
        "from": "2026-11-11",
        "pools": {
            "slm": {"input": "0.1", "cached_input": "0.025", "output": "0.4", "gpu_hour": "2.99"},
            "llm": {"input": "7.000001", "cached_input": "1", "output": "1", "gpu_hour": "51.07"},
        },
        "runs": {"L4": {"spot": "0.31", "on-demand": "0.7"}},
    },
    "pools": {
        "slm": {"input": "0.1", "cached_input": "0", "output": "0.4"},
        "llm": {"input": "3.141592", "cached_input": "0", "output": "12.000001", "gpu_hour": "50"},
    },
    "runs": {"L4": {"spot": "0.29", "on-demand": "0.7"}},
}
PRICES = table(_PERIODS["later"], pools=_PERIODS["pools"], runs=_PERIODS["runs"])
FREE = {"slm": {"input": 10**12, "output": 5 * 10**11}, "llm": {"input": 7}}
TERMS = table(
    {**_PERIODS["later"], "customers": {"a": {}, "b": {}}},
    pools=_PERIODS["pools"],
    runs=_PERIODS["runs"],
    customers={
        "a": {"monthly_fee": "10", "minimum": "1000000", "free_tokens": FREE},
        "*": {"free_tokens": FREE},
    },
)
_days = st.dates(dt.date(2026, 11, 1), dt.date(2026, 11, 30))
_pools = st.sampled_from(["slm", "llm"])
_names = st.sampled_from(["a", "b", "c"])
_tokens = st.integers(0, 10**12)


@st.composite
def _usage(draw: st.DrawFn) -> UsageRow:
    used = draw(_tokens)
    tokens = (used, draw(st.integers(0, used)), draw(_tokens))
    return usage(
        counts(draw(st.integers(1, 10**6)), tokens),
        day=draw(_days),
        customer=draw(_names),
        domain=draw(_names),
        pool=draw(_pools),
        experiment=draw(st.sampled_from([None, "", "arm"])),
    )


@st.composite
def _gpu(draw: st.DrawFn) -> GpuRow:
    kind = draw(st.sampled_from(["used", "idle", "unmeasured"]))
    owner = {"customer": draw(_names)} if kind == "used" else {}
    return gpu(
        draw(st.integers(0, 86_400_000)),
        kind=kind,
        day=draw(_days),
        pool=draw(_pools),
        pod=draw(_names),
        price_class=draw(st.sampled_from(["spot", "on-demand"])),
        **owner,
    )


@st.composite
def _runs(draw: st.DrawFn) -> tuple[RunRow, ...]:
    rows = draw(st.lists(st.tuples(_days, _names, st.integers(0, 10**9)), max_size=3))
    return tuple(
        run(gpu_ms, run_id=f"r{number}", day=day, customer=name, gpu_type="L4")
        for number, (day, name, gpu_ms) in enumerate(rows)
    )


def _token_cost(row: UsageRow) -> Fraction:
    price = PRICES.at(row.day).pools[row.pool]
    used = row.counts
    return (
        (used.input_tokens - used.cached_tokens) * Fraction(price.input)
        + used.cached_tokens * Fraction(price.cached_input)
        + used.output_tokens * Fraction(price.output)
    ) / 10**6


def _gpu_cost(row: GpuRow) -> Fraction:
    return Fraction(row.gpu_ms, GUIDE_HOUR_MS) * Fraction(
        PRICES.at(row.day).pools[row.pool].gpu_hour or 0
    )


def _run_cost(row: RunRow) -> Fraction:
    return Fraction(row.gpu_ms, GUIDE_HOUR_MS) * Fraction(PRICES.at(row.day).runs["L4"].spot)


def _sum(values: Iterable[Decimal | Fraction]) -> Fraction:
    return sum(map(Fraction, values), Fraction(0))


@settings(deadline=None, max_examples=60)
@given(st.lists(_usage(), max_size=20), st.lists(_gpu(), max_size=20), _runs())
def test_customers_idle_and_unmeasured_are_all_there_is(
    used: list[UsageRow], gpus: list[GpuRow], runs: tuple[RunRow, ...]
) -> None:
    statement = made(*used, *gpus, prices=PRICES, runs=runs)
    expected = (
        _sum(map(_token_cost, used)) + _sum(map(_gpu_cost, gpus)) + _sum(map(_run_cost, runs))
    )
    platform = _sum(line.amount for line in statement.platform)
    billed = _sum(line.amount for line in lines(statement))
    # GPU time is rounded to 12 digits on each line: far below a cent for all of them.
    assert abs(billed + platform - expected) <= Fraction(1, 10**9)
    assert _sum(invoice.cost for invoice in statement.invoices) == billed
    assert abs(_sum(invoice.due for invoice in statement.invoices) - billed) <= Fraction(
        len(statement.invoices), 200
    )
    assert statement.total_due == sum((each.due for each in statement.invoices), Decimal(0))
    gpu_ms = sum(invoice.gpu_ms for invoice in statement.invoices)
    assert gpu_ms + sum(line.gpu_ms for line in statement.platform) == sum(
        row.gpu_ms for row in gpus
    )
    assert sum(each.counts.requests for each in statement.invoices) == sum(
        row.counts.requests for row in used
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(_usage(), max_size=20), st.lists(_gpu(), max_size=20), _runs(), st.randoms())
def test_the_order_of_days_rows_and_runs_does_not_matter(
    used: list[UsageRow], gpus: list[GpuRow], runs: tuple[RunRow, ...], random: Random
) -> None:
    days = parts([*used, *gpus])
    shuffled = [
        replace(day, usage=_shuffled(day.usage, random), gpu=_shuffled(day.gpu, random))
        for day in _shuffled(days, random)
    ]
    one = make_statement(MonthInputs(MONTH, days, runs=runs), "test", TERMS)
    other = make_statement(
        MonthInputs(MONTH, tuple(shuffled), runs=_shuffled(runs, random)), "test", TERMS
    )
    assert render_json(other) == render_json(one)


@settings(deadline=None, max_examples=60)
@given(st.lists(_usage(), max_size=20))
def test_free_tokens_are_given_whole_and_never_twice(used: list[UsageRow]) -> None:
    statement = made(*used, prices=TERMS)
    for invoice in statement.invoices:
        for pool, free in FREE.items():
            tokens = _counts_of(invoice, "tokens", pool)
            given_back = _counts_of(invoice, "free_tier", pool)
            assert given_back.input_tokens == min(free["input"], tokens.input_tokens)
            assert given_back.output_tokens == min(free.get("output", 0), tokens.output_tokens)
            assert given_back.cached_tokens <= tokens.cached_tokens
        assert money.add(line.amount for line in invoice.lines) == invoice.cost


def _counts_of(invoice: Invoice, kind: str, pool: str) -> Counts:
    return total(line.counts for line in invoice.lines if (line.kind, line.pool) == (kind, pool))


def _shuffled(rows: tuple[Any, ...], random: Random) -> tuple[Any, ...]:
    return tuple(random.sample(rows, len(rows)))
