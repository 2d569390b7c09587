"""FOCUS rows."""

import csv
import datetime as dt
import io
import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.billing.charges import MonthInputs, make_statement
from serving.billing.focus import COLUMNS, render_focus
from serving.billing.prices import PriceTable
from serving.billing.statement import Statement
from serving.billing.usage import GpuRow, UsageRow
from tests.billing.builders import CUSTOMER, MONTH, counts, gpu, note, parts, run, table, usage

FRONTIER = {"llm": {"input": "5", "cached_input": "0.5", "output": "25", "gpu_hour": "50"}}


def _statement(
    *rows: UsageRow | GpuRow, prices: PriceTable | None = None, **inputs: Any
) -> Statement:
    return make_statement(MonthInputs(MONTH, parts(rows), **inputs), "test", prices or table())


def _rows(statement: Statement) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_focus(statement))))


def test_the_specifications_example() -> None:
    row = usage(counts(1, (8_400_000, 0, 2_100_000)), pool="llm", version="v4.8")
    entered, left = _rows(_statement(row, prices=table(pools=FRONTIER)))
    expected = {
        "BilledCost": ("42.00", "52.50"),
        "ConsumedQuantity": ("8400000", "2100000"),
        "ConsumedUnit": ("Tokens", "Tokens"),
        "PricingQuantity": ("8.40", "2.10"),
        "PricingUnit": ("1000000 Tokens", "1000000 Tokens"),
        "ListUnitPrice": ("5.00", "25.00"),
        "SkuMeter": ("Input Tokens", "Output Tokens"),
        "ChargeCategory": ("Usage", "Usage"),
        "ChargePeriodStart": ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        "ChargePeriodEnd": ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"),
    }
    assert {name: (entered[name], left[name]) for name in expected} == expected
    assert json.loads(entered["SkuPriceDetails"]) == {
        "ModelDeveloper": "Custom Model Pipeline",
        "ModelFamily": "bank-ledger",
        "ModelId": "bank-ledger-v1.0",
        "ModelVersion": "v4.8",
        "TokenCacheAction": "Uncached",
        "TokenDirection": "Input",
    }


def test_cached_tokens_have_a_row_of_their_own() -> None:
    fresh, cached, _ = _rows(_statement(usage(counts(1, (3_000_000, 1_000_000, 0)))))
    assert (fresh["ConsumedQuantity"], fresh["BilledCost"]) == ("2000000", "0.20")
    assert (cached["ConsumedQuantity"], cached["BilledCost"]) == ("1000000", "0.025")
    assert cached["SkuMeter"] == "Cache Read Input Tokens"
    assert json.loads(cached["SkuPriceDetails"])["TokenCacheAction"] == "Read"


def test_every_kind_of_charge_has_its_category() -> None:
    terms = {"monthly_fee": "1", "minimum": "99", "free_tokens": {"llm": {"input": 1}}}
    prices = table(
        pools=FRONTIER,
        customers={CUSTOMER: terms},
        runs={"H100": {"spot": "2", "on-demand": "4"}},
    )
    statement = _statement(
        usage(counts(1, (1_000_000, 0, 0)), pool="llm"),
        gpu(1_800_000, pool="llm"),
        prices=prices,
        runs=(run(3_600_000),),
        notes=(note("3"), note("0.5", kind="debit", id="2026-10-0002")),
        late=(usage(counts(1, (1_000_000, 0, 0)), pool="llm", day=dt.date(2026, 10, 1)),),
    )
    found = [
        (row["ChargeCategory"], row["ChargeClass"], row["SkuMeter"], row["BilledCost"])
        for row in _rows(statement)
    ]
    assert found == [
        ("Usage", "", "Input Tokens", "5.00"),
        ("Usage", "Correction", "Input Tokens", "5.00"),
        ("Usage", "", "GPU Time", "25.00"),
        ("Usage", "", "GPU Time", "2.00"),
        ("Purchase", "", "", "1.00"),
        ("Credit", "", "Input Tokens", "-0.000005"),
        ("Adjustment", "", "", "61.000005"),
        ("Credit", "Correction", "", "-3.00"),
        ("Adjustment", "Correction", "", "0.50"),
    ]
    hours = [row["PricingQuantity"] for row in _rows(statement) if row["SkuMeter"] == "GPU Time"]
    assert hours == ["0.50", "1.00"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=8
    )
)
def test_a_customers_rows_add_up_to_what_is_due(rows: list[tuple[str, int, int]]) -> None:
    prices = table(
        pools={"slm": {"input": "0.1", "cached_input": "0", "output": "1", "gpu_hour": "7"}}
    )
    made = [usage(counts(1, (tokens, 0, 0)), customer=name) for name, tokens, _ in rows]
    made += [gpu(gpu_ms, customer=name) for name, _, gpu_ms in rows]
    statement = _statement(*made, prices=prices)
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    exact: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in _rows(statement):
        assert set(row) == set(COLUMNS)
        sums[row["BillingAccountId"]] += Decimal(row["BilledCost"])
        if not row["ChargeDescription"].startswith("Rounding"):
            exact[row["BillingAccountId"]] += Decimal(row["BilledCost"])
    assert exact == {each.customer: each.cost for each in statement.invoices if each.lines}
    due = {invoice.customer: invoice.due for invoice in statement.invoices}
    assert {name: sums[name] for name in due} == due


def test_rounding_is_a_row_of_its_own() -> None:
    _, rounding = _rows(_statement(usage(counts(1, (1_040_000, 0, 0)))))
    assert rounding["BilledCost"] == "-0.004"
    assert rounding["ChargeCategory"] == "Adjustment"
    assert rounding["ChargeDescription"].startswith("Rounding of the invoice's total")
