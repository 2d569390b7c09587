"""`python -m serving.billing` over a warehouse of shipped files."""

import csv
import datetime as dt
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry import documents, layout
from registry.directory_store import DirectoryStore
from registry.runs import RunResult
from serving.billing.__main__ import main
from serving.billing.command import ATTENTION_STATUS
from serving.warehouse.layout import writer_key
from serving.warehouse.writers import WriterState
from tests.billing.rows import DAY, START, event, orphan, request_id, ship, ship_orphans

PRICES = """
currency: USD
prices:
  - from: 2024-01-01
    pools: {slm: {input: "0.10", cached_input: "0.025", output: "0.40"}}
    runs: {H100: {spot: "2.50", on-demand: "6.00"}}
"""
DURING = dt.datetime(2026, 11, 30, 23, 59, tzinfo=dt.UTC)
AFTER = dt.datetime(2026, 12, 2, tzinfo=dt.UTC)
MILLION: dict[str, Any] = {
    "input_tokens": 1_000_000,
    "cached_tokens": 0,
    "output_tokens": 0,
    "server": None,
    "attempts": 0,
}
"""Worth 0.10; sent to no pod, whose GPU time would have to be reported."""


@dataclass(frozen=True)
class Desk:
    """Where somebody asks, with a warehouse and a registry next to it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse"

    def ask(self, task: str, *options: str, now: dt.datetime = AFTER) -> int:
        return main([task, "--config", str(self.root / "billing.json"), *options], now=now)

    def said(self) -> str:
        return self.capsys.readouterr().out

    def complained(self) -> str:
        return self.capsys.readouterr().err

    def bill(self, month: str = "2026-11") -> dict[str, Any]:
        self.said()
        self.ask("bill", "--month", month, "--format", "json")
        found: dict[str, Any] = json.loads(self.said())
        return found


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "prices.yaml").write_text(PRICES)
    config = {
        "environment": "production",
        "warehouse_uri": f"file://{tmp_path}/warehouse",
        "registry_uri": f"file://{tmp_path}/registry",
        "customers": {"bank-ledger": "customer-bank-A"},
        "prices": str(tmp_path / "prices.yaml"),
        "cache": str(tmp_path / "cache"),
    }
    (tmp_path / "billing.json").write_text(json.dumps(config))
    return Desk(tmp_path, capsys)


def _train(desk: Desk, run_id: str) -> None:
    """A training job ends: an hour on one H100."""
    held = {"seconds": 3600, "gpus": 1, "gpu_type": "H100", "price_class": "spot"}
    result = RunResult(
        run_id=run_id,
        verdict="ok",
        result={"metrics": held},
        created_at=dt.datetime(2026, 11, 5, tzinfo=dt.UTC),
    )
    store = DirectoryStore(desk.root / "registry")
    store.put(
        layout.run_result("bank-ledger", run_id), documents.encode(result), if_none_match=True
    )


def _lose(desk: Desk) -> None:
    """A router stops shipping in the middle of the month."""
    state = WriterState(
        writer="router-0",
        ledger_id="b1",
        orphans=0,
        last_shipped=None,
        shipped_until=dt.datetime(2026, 11, 20, tzinfo=dt.UTC),
        finished=False,
        damaged=(),
        lost=(),
    )
    DirectoryStore(desk.warehouse).put(writer_key("router-0"), documents.encode(state))


def test_parts_are_made_and_found_by_the_bill(desk: Desk) -> None:
    ship(desk.warehouse, "a", [event(1, **MILLION)])
    assert desk.ask("parts", now=DURING) == 0
    assert desk.said() == "30 day parts are up to date\n"
    before = sorted(desk.warehouse.glob("parts/*/*"))
    assert desk.bill()["total_due"] == "0.10"
    assert sorted(desk.warehouse.glob("parts/*/*")) == before


@pytest.mark.parametrize(
    ("now", "month"), [(DURING, "2026-11"), (DURING + dt.timedelta(minutes=1), "2026-12")]
)
def test_this_month_is_the_default(desk: Desk, now: dt.datetime, month: str) -> None:
    ship(desk.warehouse, "a", [event(1, **MILLION)])
    assert desk.ask("bill", "--format", "json", now=now) == 0
    assert json.loads(desk.said())["month"] == month


def test_a_bill_is_written_into_a_folder(desk: Desk) -> None:
    ship(desk.warehouse, "a", [event(1, **MILLION)])
    out = desk.root / "out"
    assert desk.ask("bill", "--month", "2026-11", "--format", "csv", "--out", str(out)) == 0
    assert desk.said() == f"{out}/bill-2026-11.csv\n"
    assert "0.10,USD" in (out / "bill-2026-11.csv").read_text()


def test_every_month_that_is_due_is_closed_once(desk: Desk) -> None:
    october = START - dt.timedelta(days=10)
    early = event(1, request_id=request_id(1, october), admitted=october, **MILLION)
    ship(desk.warehouse, "a", [early], day=october.date())
    ship(desk.warehouse, "b", [event(2, **MILLION)])
    assert desk.ask("close", now=DURING) == 0
    assert desk.said().startswith("closed 2026-10: 1 invoices, 0.10 USD; digest to keep: sha256:")
    assert desk.ask("close", now=AFTER) == 0
    assert desk.said().startswith("closed 2026-11: 1 invoices, 0.10 USD; digest to keep: sha256:")
    assert desk.ask("close", now=AFTER) == 0
    assert desk.said() == ""
    assert desk.ask("verify") == 0
    assert [line.split()[0] for line in desk.said().splitlines()] == ["2026-10", "2026-11"]


def test_a_request_without_an_end_is_for_a_person(desk: Desk) -> None:
    ship_orphans(desk.warehouse, "a", [orphan(1)])
    assert desk.ask("bill", "--month", "2026-11") == ATTENTION_STATUS
    assert desk.ask("close") == ATTENTION_STATUS
    assert "closed 2026-11" in desk.said()


def test_jobs_that_ended_are_collected_before_the_bill_and_the_close(desk: Desk) -> None:
    _train(desk, "train-slm-aa")
    [invoice] = desk.bill()["invoices"]
    assert [(line["reference"], line["amount"]) for line in invoice["lines"]] == [
        ("train-slm-aa", "2.50")
    ]
    _train(desk, "train-llm-bb")
    assert desk.ask("close", "--month", "2026-11") == 0
    assert desk.said().startswith("closed 2026-11: 1 invoices, 5.00 USD; digest to keep: sha256:")


def test_a_lost_ledger_is_given_up_by_name_and_with_a_reason(desk: Desk) -> None:
    _lose(desk)
    name, month = ("--accept-lost", "router-0:b1"), ("--month", "2026-11")
    assert desk.ask("close", *month) == 1
    assert "may hold requests of it: router-0:b1" in desk.complained()
    for options, message in [
        ((*month, "--accept-lost", "router-0"), "write it as WRITER:LEDGER_ID"),
        ((*month, *name), "give a --reason"),
        ((*name, "--reason", "burnt"), "router-0:b1 is accepted: say for which --month"),
    ]:
        assert desk.ask("close", *options) == 1
        assert message in desk.complained()
    assert desk.ask("close", *month, *name, "--reason", "burnt") == 0
    assert desk.bill()["attention"][0]["kind"] == "accepted-loss"


def test_the_schedule_does_not_close_over_an_unknown_customer_and_says_why(desk: Desk) -> None:
    (desk.root / "prices.yaml").write_text(f"{PRICES}    customers: {{customer-bank-B: {{}}}}\n")
    ship(desk.warehouse, "a", [event(1, **MILLION)])
    assert desk.ask("close") == 1
    assert "2026-11 cannot be closed" in (complaint := desk.complained())
    assert "unknown-customer:customer-bank-A: not billed" in complaint
    name, month = ("--accept-unbilled", "unknown-customer:customer-bank-A"), ("--month", "2026-11")
    for options, message in [
        ((*month, "--accept-unbilled", "unknown-customer"), "write it as KIND:WHERE"),
        ((*month, *name), "give a --reason"),
        ((*name, "--reason", "a test account"), "customer-bank-A is accepted: say for which"),
    ]:
        assert desk.ask("close", *options) == 1
        assert message in desk.complained()
    assert desk.ask("close", *month, *name, "--reason", "a test account") == ATTENTION_STATUS
    assert desk.ask("verify") == 0
    assert "2026-11 sha256:" in desk.said()


def test_a_closed_month_is_corrected_by_notes(desk: Desk) -> None:
    ship(desk.warehouse, "a", [event(1, **MILLION)])
    desk.ask("close")
    desk.said()
    about = ("--month", "2026-11", "--customer", "customer-bank-A", "--reason", "r", "--by", "b")
    assert desk.ask("credit", *about, "--amount", "ten") == 1
    assert "credit note: amount: Input should be a valid decimal" in desk.complained()
    assert desk.ask("credit", *about, "--amount", "0.04") == 0
    assert desk.said() == (
        "credit note 2026-11-0001: 0.04 USD for customer-bank-A, on the invoice of 2026-12\n"
    )
    assert desk.ask("debit", *about, "--amount", "0.10") == 0
    assert desk.said().startswith("debit note 2026-11-0002: 0.10 USD for customer-bank-A")
    assert desk.bill("2026-12")["total_due"] == "0.06"


def test_the_requests_of_a_line_are_listed(desk: Desk) -> None:
    rows = [event(1), event(2, served_model="slm-base"), event(3, customer="customer-bank-B")]
    ship(desk.warehouse, "a", rows)
    asked = ("--month", "2026-11", "--customer", "customer-bank-A", "--domain", "bank-ledger")

    def ids(*options: str) -> list[str]:
        assert desk.ask("requests", *asked, *options) == 0
        return [row["request_id"] for row in csv.DictReader(io.StringIO(desk.said()))]

    assert ids() == [request_id(1), request_id(2)]
    assert ids("--adapter", "slm-base") == [request_id(2)]


def test_what_cannot_be_used_is_named(desk: Desk) -> None:
    ship(desk.warehouse, "a", [event(1)], day=DAY)
    (desk.root / "prices.yaml").unlink()
    assert desk.ask("close") == 1
    assert "prices.yaml" in desk.complained()
    shutil.rmtree(desk.warehouse)
    assert desk.ask("verify") == 1
    assert "there is no such directory" in desk.complained()
    (desk.root / "billing.json").write_text("{}")
    assert desk.ask("close") == 2
    assert "billing.json: environment: Field required" in desk.complained()
