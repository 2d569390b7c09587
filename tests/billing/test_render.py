"""Tables, CSV and JSON of a statement, and the files that the command writes."""

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from rich.console import Console

from serving.billing.charges import MonthInputs, make_statement
from serving.billing.codec import from_json, to_json
from serving.billing.command import BillFormat, needs_person, print_statement, write_statement
from serving.billing.errors import BillingError
from serving.billing.money import plain
from serving.billing.render import render_csv, render_json, render_table
from serving.billing.statement import Statement
from serving.billing.usage import Attention, Counts
from tests.billing.builders import MONTH, POOLS, counts, gpu, orphan, parts, table, usage

NOW = dt.datetime(2026, 11, 3, 10, 30, tzinfo=dt.UTC)


@pytest.fixture
def statement() -> Statement:
    """Two pools, GPU time, a stranger, an orphan of 10:00, and something found wrong."""
    rows = [
        usage(counts(3, (1000, 400, 200))),
        usage(counts(1, (1000, 0, 10)), pool="llm", experiment="[bold]arm"),
        usage(counts(5, (1, 0, 0)), customer="stranger"),
        gpu(1234, pool="llm"),
        gpu(99, pool="llm", kind="idle"),
        orphan("r9"),
    ]
    prices = table(
        pools={**POOLS, "llm": {**POOLS["llm"], "gpu_hour": "50"}},
        customers={"customer-bank-A": {"monthly_fee": "1"}},
    )
    found = Attention("clock", "router-0", "an hour ahead", 2)
    return make_statement(MonthInputs(MONTH, parts(rows), attention=(found,)), "test", prices)


def _table(statement: Statement, width: int = 140) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(render_table(statement))
    return stream.getvalue()


def test_csv_and_json_carry_the_same_exact_amounts(statement: Statement) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(statement))))
    values = json.loads(render_json(statement))
    (invoice,) = values["invoices"]
    lines = [row for row in rows if row["record"] == "line"]
    assert [row["amount"] for row in lines] == [line["amount"] for line in invoice["lines"]]
    assert sum(Decimal(row["amount"]) for row in lines) == Decimal(invoice["cost"])
    assert rows[-1]["due"] == values["total_due"] == invoice["due"]
    assert [row["record"] for row in rows] == [
        *["line"] * len(invoice["lines"]),
        *("customer", "platform", "orphan", "attention", "attention", "total"),
    ]


def test_every_record_of_the_csv_says_what_it_is_about(statement: Statement) -> None:
    rows = {row["record"]: row for row in csv.DictReader(io.StringIO(render_csv(statement)))}
    assert (rows["orphan"]["reference"], rows["orphan"]["where"]) == ("r9", "router-0")
    assert (rows["platform"]["kind"], rows["platform"]["gpu_ms"]) == ("idle", "99")
    assert (rows["attention"]["kind"], rows["attention"]["requests"]) == ("unknown-customer", "5")
    assert rows["customer"]["requests"] == "4"


def test_a_statement_survives_json(statement: Statement) -> None:
    values = json.loads(json.dumps(to_json(statement)))
    assert from_json(TypeAdapter(Statement), values, "here") == statement
    with pytest.raises(BillingError, match="here: total_due"):
        from_json(TypeAdapter(Statement), {**values, "total_due": "many"}, "here")


def test_the_table_names_lines_totals_orphans_and_attention(statement: Statement) -> None:
    text = _table(statement)
    for shown in (
        *("customer-bank-A", "bank-ledger-v1.0", "GPU time, bank-ledger-v1.0", "monthly fee"),
        *("slm 75.0 %", "half to even", "r9", "unknown-customer", "an hour ahead", "idle"),
        plain(statement.total_due),
        "bank-ledger-v1.0 ([bold]arm)",
    ):
        assert shown in text
    assert "0 failed" not in text


def test_names_are_never_markup() -> None:
    rows = [usage(counts(1), customer="[red]x[/red]", served_model="[/]")]
    text = _table(make_statement(MonthInputs(MONTH, parts(rows)), "test", table()))
    assert "[red]x[/red]" in text
    assert "[/]" in text


def test_an_empty_month_says_so() -> None:
    empty = make_statement(MonthInputs(MONTH, ()), "test", table())
    assert "No request was billed in 2026-11." in _table(empty)
    assert json.loads(render_json(empty))["total_due"] == "0.00"
    (row,) = csv.DictReader(io.StringIO(render_csv(empty)))
    assert (row["record"], row["month"], row["due"]) == ("total", "2026-11", "0.00")


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000.00"), ("0.000150", "0.00015"), ("0", "0.00"), ("2.5", "2.50")],
)
def test_amounts_are_written_in_full(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_what_is_printed_is_what_is_written(statement: Statement, tmp_path: Path) -> None:
    for form in (BillFormat.CSV, BillFormat.JSON, BillFormat.FOCUS):
        stream = io.StringIO()
        print_statement(statement, form, Console(file=stream, width=20))
        (path,) = write_statement(statement, form, tmp_path / "new" / "folder")
        assert path.read_text() == stream.getvalue()
    (path,) = write_statement(statement, BillFormat.TABLE, tmp_path)
    assert "customer-bank-A" in path.read_text()


def test_pages_are_files_only(statement: Statement, tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="say where with --out"):
        print_statement(statement, BillFormat.HTML, Console(file=io.StringIO()))
    paths = write_statement(statement, BillFormat.HTML, tmp_path)
    assert {path.suffix for path in paths} == {".html"}
    assert all(b"2026" in path.read_bytes() for path in paths)


def test_a_person_is_needed_for_attention_and_for_old_orphans() -> None:
    def made(*rows: object, **inputs: object) -> Statement:
        return make_statement(MonthInputs(MONTH, parts(rows), **inputs), "test", table())

    young = made(orphan("r1"))
    assert not needs_person(young, NOW)
    assert needs_person(young, NOW + dt.timedelta(hours=1))
    assert not needs_person(made(usage(Counts(requests=100, unmeasured=1))), NOW)
    assert needs_person(made(usage(Counts(requests=99, unmeasured=1))), NOW)
    assert needs_person(made(attention=(Attention("clock", "w", "d"),)), NOW)
    assert not needs_person(made(attention=(Attention("accepted-loss", "w", "d"),)), NOW)
