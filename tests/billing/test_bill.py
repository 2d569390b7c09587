"""Bills over ledgers that the real ledger writer wrote."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from serving.billing import (
    Bill,
    BillingError,
    PriceTable,
    bill,
    read_prices,
    render_csv,
    render_json,
    render_table,
)
from serving.billing.bill import make_bill, month_bounds
from serving.billing.command import BillFormat, print_bill
from serving.billing.render import plain
from serving.ledger.records import Event, Intent, encode
from serving.ledger.segments import segment_paths

SEGMENT_NAME = "segment-0000000001.jsonl"
PRICES = """
currency: USD
prices:
  - from: 2026-01-01
    pools:
      slm: {input: "0.10", cached_input: "0.025", output: "0.40"}
      llm: {input: "3", cached_input: "0.75", output: "12"}
  - from: 2026-11-15
    pools:
      slm: {input: "0.20", cached_input: "0.05", output: "0.80"}
"""

EVENT = Event(
    request_id="r1",
    ts="2026-11-03T10:00:00.000001Z",
    domain="bank-ledger",
    customer="customer-bank-A",
    version="v1.0",
    served_model="bank-ledger-v1.0",
    pool="slm",
    stream=False,
    status=200,
    input_tokens=1000,
    output_tokens=200,
    cached_tokens=400,
    latency_ms=12.5,
    ttft_ms=None,
    error=None,
)
INTENT = Intent(
    request_id="r9",
    ts="2026-11-03T10:00:00.000000Z",
    domain="bank-ledger",
    customer="customer-bank-A",
    version="v1.0",
    served_model="bank-ledger-v1.0",
    pool="slm",
    stream=True,
)


@pytest.fixture
def prices(tmp_path: Path) -> PriceTable:
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return read_prices(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[..., Path]:
    def write(*records: Event | Intent) -> Path:
        folder = tmp_path / "ledger"
        folder.mkdir(exist_ok=True)
        segment = folder / SEGMENT_NAME
        segment.write_bytes(b"".join(map(encode, records)))
        assert list(segment_paths(folder)) == [segment]
        return folder

    return write


def _amounts(made: Bill) -> dict[str, Decimal]:
    return {total.customer: total.due for total in made.customers}


def test_a_line_is_fresh_cached_and_output_tokens_times_their_prices(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    made = bill(ledger(EVENT), "2026-11", prices)
    # 600 fresh at 0.10, 400 cached at 0.025 and 200 output at 0.40 per million.
    assert [line.cost for line in made.lines] == [Decimal("0.00015")]
    assert made.orphans == ()


def test_a_price_change_within_the_month_splits_the_line(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    before = replace(EVENT, request_id="a", ts="2026-11-14T23:59:59.999999Z")
    after = replace(EVENT, request_id="b", ts="2026-11-15T00:00:00.000000Z")
    made = bill(ledger(before, after), "2026-11", prices)
    assert [(str(line.key.price_from), line.cost) for line in made.lines] == [
        ("2026-01-01", Decimal("0.00015")),
        ("2026-11-15", Decimal("0.0003")),
    ]


def test_a_month_is_a_utc_month_by_the_end_of_the_answer(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    records = [
        replace(EVENT, request_id=name, ts=ts)
        for name, ts in [
            ("last of october", "2026-10-31T23:59:59.999999Z"),
            ("first of november", "2026-11-01T00:00:00.000000Z"),
            ("november, written elsewhere", "2026-12-01T01:30:00.000000+02:00"),
            ("first of december", "2026-12-01T00:00:00.000000Z"),
        ]
    ]
    folder = ledger(*records)
    counts = {
        month: sum(total.requests for total in bill(folder, month, prices).customers)
        for month in ("2026-10", "2026-11", "2026-12")
    }
    assert counts == {"2026-10": 1, "2026-11": 2, "2026-12": 1}


def test_an_orphan_is_named_and_not_billed(ledger: Callable[..., Path], prices: PriceTable) -> None:
    folder = ledger(INTENT, replace(INTENT, request_id="r1"), EVENT)
    made = bill(folder, "2026-11", prices)
    assert [intent.request_id for intent in made.orphans] == ["r9"]
    assert made.customers[0].requests == 1
    for text in (render_csv(made), render_json(made)):
        assert "r9" in text
    assert bill(folder, "2026-10", prices).orphans == ()


def test_our_own_failures_and_unmeasured_answers_cost_nothing_and_are_counted(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    failed = replace(EVENT, request_id="f", status=502)
    unmeasured = replace(EVENT, request_id="u", input_tokens=None, output_tokens=None)
    gone = replace(EVENT, request_id="g", status=499)
    made = bill(ledger(failed, unmeasured, gone), "2026-11", prices)
    usage = made.lines[0].usage
    assert (usage.requests, usage.failed, usage.unmeasured) == (3, 1, 1)
    assert made.lines[0].cost == Decimal("0.00015")


def test_a_total_is_rounded_once_half_to_even(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    def halves(customer: str, tokens: int) -> list[Event]:
        base = replace(EVENT, customer=customer, cached_tokens=0, output_tokens=0, pool="llm")
        parts = (tokens // 2, tokens - tokens // 2)
        return [
            replace(base, request_id=f"{customer}{n}", input_tokens=part, served_model=f"m{n}")
            for n, part in enumerate(parts)
        ]

    # At 3 per million, 5,000 tokens are 0.015 and 15,000 are 0.045: both lie half-way.
    made = bill(ledger(*halves("a", 5_000), *halves("b", 15_000)), "2026-11", prices)
    assert _amounts(made) == {"a": Decimal("0.02"), "b": Decimal("0.04")}
    assert made.total == Decimal("0.06")


def test_pools_are_split_by_requests(ledger: Callable[..., Path], prices: PriceTable) -> None:
    records = [replace(EVENT, request_id=str(n), pool="llm" if n == 0 else "slm") for n in range(4)]
    made = bill(ledger(*records), "2026-11", prices)
    assert dict(made.customers[0].pool_requests) == {"llm": 1, "slm": 3}


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2026-00", "November", "2026-11-01", ""])
def test_a_month_that_is_none_is_refused(month: str) -> None:
    with pytest.raises(BillingError, match="YYYY-MM"):
        month_bounds(month)


def test_a_request_without_a_price_stops_the_bill(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    with pytest.raises(BillingError, match="no price for 2025-12-31: the table begins on 2026-01"):
        bill(ledger(replace(EVENT, ts="2025-12-31T00:00:00Z")), "2025-12", prices)
    with pytest.raises(BillingError, match="r1: no price for pool 'llm' from 2026-11-15"):
        bill(ledger(replace(EVENT, pool="llm", ts="2026-11-20T00:00:00Z")), "2026-11", prices)


def test_counts_and_times_that_cannot_be_stop_the_bill(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    with pytest.raises(BillingError, match="1001 cached of 1000 input"):
        bill(ledger(replace(EVENT, cached_tokens=1001)), "2026-11", prices)
    with pytest.raises(BillingError, match="ts '2026-11-03T10:00:00' is not"):
        bill(ledger(replace(EVENT, ts="2026-11-03T10:00:00")), "2026-11", prices)


def test_a_damaged_or_missing_ledger_stops_the_bill(
    ledger: Callable[..., Path], prices: PriceTable, tmp_path: Path
) -> None:
    folder = ledger(EVENT, replace(EVENT, request_id="r2"))
    segment = folder / SEGMENT_NAME
    segment.write_bytes(
        segment.read_bytes().replace(b'"input_tokens":1000', b'"input_tokens":9', 1)
    )
    with pytest.raises(BillingError, match=f"{segment}: line 1 is damaged"):
        bill(folder, "2026-11", prices)
    with pytest.raises(BillingError, match="no ledger directory"):
        bill(tmp_path / "none", "2026-11", prices)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["m1", "m2"]),
            st.sampled_from(["slm", "llm"]),
            st.integers(0, 10**12),
            st.integers(0, 10**12),
        ),
        max_size=20,
    ),
    st.randoms(),
)
def test_the_bill_is_exact_and_the_same_in_any_order(rows: list[tuple], random: object) -> None:
    table = PriceTable.model_validate(
        {
            "currency": "USD",
            "prices": [
                {
                    "from": "2026-01-01",
                    "pools": {
                        "slm": {"input": "0.1", "cached_input": "0.025", "output": "0.4"},
                        "llm": {"input": "3.141592", "cached_input": "0", "output": "12.000001"},
                    },
                }
            ],
        }
    )
    events = [
        replace(
            EVENT,
            request_id=str(n),
            customer=customer,
            served_model=model,
            pool=pool,
            input_tokens=tokens_in,
            cached_tokens=tokens_in // 3,
            output_tokens=tokens_out,
        )
        for n, (customer, model, pool, tokens_in, tokens_out) in enumerate(rows)
    ]
    made = make_bill("2026-11", events, [], table)
    per_token = {
        pool: [Fraction(price) / 10**6 for price in (each.input, each.cached_input, each.output)]
        for pool, each in table.prices[0].pools.items()
    }
    expected = Fraction(0)
    for event in events:
        fresh, cached, out = per_token[event.pool]
        expected += (event.input_tokens - event.cached_tokens) * fresh
        expected += event.cached_tokens * cached + event.output_tokens * out
    assert sum((Fraction(line.cost) for line in made.lines), Fraction(0)) == expected
    shuffled = list(events)
    random.shuffle(shuffled)
    again = make_bill("2026-11", shuffled, [], table)
    assert render_json(again) == render_json(made)
    assert render_csv(again) == render_csv(made)


def test_csv_and_json_carry_the_same_exact_amounts(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    made = bill(
        ledger(EVENT, replace(EVENT, request_id="r2", pool="llm"), INTENT), "2026-11", prices
    )
    rows = list(csv.DictReader(io.StringIO(render_csv(made))))
    values = json.loads(render_json(made))
    usage = [row for row in rows if row["record"] == "usage"]
    assert [row["cost"] for row in usage] == [line["cost"] for line in values["lines"]]
    assert [row["record"] for row in rows] == ["usage", "usage", "customer", "orphan", "total"]
    assert rows[-1]["due"] == values["total"]
    assert sum(Decimal(row["cost"]) for row in usage) == Decimal(values["customers"][0]["cost"])


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000.00"), ("0.000150", "0.00015"), ("0", "0.00"), ("2.5", "2.50")],
)
def test_amounts_are_written_in_full(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_the_table_names_customer_adapter_amount_and_rule(
    ledger: Callable[..., Path], prices: PriceTable
) -> None:
    made = bill(ledger(EVENT, INTENT), "2026-11", prices)
    stream = io.StringIO()
    Console(file=stream, width=140).print(render_table(made))
    text = stream.getvalue()
    for part in ("customer-bank-A", "bank-ledger-v1.0", "0.00015", "slm 100.0 %", "half to even"):
        assert part in text
    assert "r9" in text


def test_an_empty_month_says_so(ledger: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(PRICES)
    outputs = {}
    for form in BillFormat:
        stream = io.StringIO()
        console = Console(file=stream, width=100)
        print_bill(ledger(EVENT), "2026-10", tmp_path / "prices.yaml", form, console)
        outputs[form] = stream.getvalue()
    assert "No request ended in 2026-10." in outputs[BillFormat.TABLE]
    assert json.loads(outputs[BillFormat.JSON])["total"] == "0.00"
    rows = list(csv.DictReader(io.StringIO(outputs[BillFormat.CSV])))
    assert [(row["record"], row["month"], row["due"]) for row in rows] == [
        ("total", "2026-10", "0.00")
    ]
