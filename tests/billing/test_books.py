"""Closed months, late use, credit notes and jobs, in a store on a directory."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from registry import documents
from registry.directory_store import DirectoryStore
from serving.billing.books import BilledPart, Books
from serving.billing.closed import AcceptedLoss, write
from serving.billing.credits import order_credit
from serving.billing.errors import BillingError
from serving.billing.render import render_json
from serving.billing.runs import write_run
from serving.billing.statement import Line, Statement
from serving.billing.usage import Attention
from serving.warehouse.layout import span, writer_key
from serving.warehouse.progress import nothing_shipped
from serving.warehouse.writers import LostLedger, WriterState
from tests.billing.builders import CUSTOMER, DAY, counts, orphan, run, table, usage
from tests.billing.stand_in_days import StandInDays

OCTOBER = dt.date(2026, 10, 20)
MILLION = counts(1, (1_000_000, 0, 0))
"""Worth 0.10 in pool slm."""


@pytest.fixture
def days() -> StandInDays:
    return StandInDays()


@pytest.fixture
def books(tmp_path: Path, days: StandInDays) -> Books:
    """Books on the second of January, when December may be closed."""
    return Books(
        environment="test",
        store=DirectoryStore(tmp_path),
        parts=days,
        prices=table(runs={"H100": {"spot": "2.50", "on-demand": "6.00"}}),
        now=dt.datetime(2027, 1, 2, tzinfo=dt.UTC),
    )


def _writer(**changes: Any) -> WriterState:
    values: dict[str, Any] = {
        "writer": "router-0",
        "ledger_id": "b1",
        "orphans": 0,
        "last_shipped": None,
        "shipped_until": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "finished": False,
        "damaged": (),
        "lost": (),
        **changes,
    }
    return WriterState(**values)


def _report(books: Books, *writers: WriterState) -> None:
    for writer in writers:
        books.store.put(writer_key(writer.writer), documents.encode(writer))


def _lines(statement: Statement) -> list[Line]:
    return [line for invoice in statement.invoices for line in invoice.lines]


def test_a_closed_month_is_what_the_open_one_was(books: Books, days: StandInDays) -> None:
    days.add(usage(MILLION))
    open_month = books.statement("2026-11")
    closed = books.close("2026-11")
    assert closed.statement == replace(open_month, closed=True)
    assert books.statement("2026-11") == closed.statement
    assert len(closed.statement.parts) == 30
    assert closed.statement.previous is None
    assert closed.statement.total_due == Decimal("0.10")


def test_a_closed_month_renders_the_same_bytes_whatever_comes(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(MILLION))
    books.close("2026-11")
    before = render_json(books.statement("2026-11"))
    days.add(usage(MILLION))
    write_run(books.store, run(3_600_000))
    dearer = replace(
        books, prices=table(pools={"slm": {"input": "9", "cached_input": "9", "output": "9"}})
    )
    assert render_json(dearer.statement("2026-11")) == before


def test_closing_again_says_that_it_is_closed_and_changes_nothing(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(MILLION))
    books.close("2026-11")
    before = books.store.get("closed/2026-11.json")
    days.add(usage(MILLION))
    with pytest.raises(BillingError, match="2026-11 is closed already and never changes"):
        books.close("2026-11")
    assert books.store.get("closed/2026-11.json") == before


def test_a_month_cannot_be_closed_before_its_end_and_a_day(books: Books) -> None:
    early = replace(books, now=dt.datetime(2026, 12, 1, 23, 59, 59, tzinfo=dt.UTC))
    with pytest.raises(BillingError, match=r"before 2026-12-02T00:00:00\+00:00"):
        early.close("2026-11")
    assert early.close("2026-11", grace=dt.timedelta(0)).month == "2026-11"
    replace(books, now=dt.datetime(2027, 1, 2, tzinfo=dt.UTC)).close("2026-12")


def test_months_are_closed_in_their_order(books: Books, days: StandInDays) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    books.store.put("events/day=2026-10-20/x.parquet", b"")
    with pytest.raises(BillingError, match="2026-10 had usage and is open; close 2026-10 first"):
        books.close("2026-11")
    october = books.close("2026-10")
    with pytest.raises(BillingError, match="the next month to close is 2026-11"):
        books.close("2026-12")
    with pytest.raises(BillingError, match="the next month to close is 2026-11"):
        books.close("2026-09")
    november = books.close("2026-11")
    assert november.statement.previous == october.digest
    assert [closed.month for closed in books.verify()] == ["2026-10", "2026-11"]


def test_a_file_that_cannot_be_read_keeps_the_month_open(books: Books, days: StandInDays) -> None:
    days.complain(DAY, Attention("unreadable-file", "events/x.parquet", "no magic bytes"))
    with pytest.raises(BillingError, match=r"cannot be read: events/x\.parquet: no magic bytes"):
        books.close("2026-11")
    assert books.store.list("closed/") == []
    days.repair(DAY)
    books.close("2026-11")


def test_a_file_that_was_shipped_and_is_gone_keeps_its_month_open(books: Books) -> None:
    progress = nothing_shipped("router-0", "ab" * 8, 1).with_files(
        {"events/day=2026-11-30/": span(0, 90, 7), "events/day=2026-12-01/": span(0, 90, 8)}
    )
    november, december = progress.file_keys()
    books.store.put(progress.key, documents.encode(progress))
    (found,) = books.statement("2026-11").attention
    assert (found.kind, found.where) == ("missing-file", november)
    with pytest.raises(BillingError, match=f"a file is missing or cannot be read: {november}"):
        books.close("2026-11")
    assert books.store.list("closed/") == []
    books.store.put(november, b"")
    assert books.close("2026-11").statement.attention == ()
    with pytest.raises(BillingError, match=december):
        books.close("2026-12")


def test_progress_that_cannot_be_read_is_named(books: Books) -> None:
    books.store.put("shipped/router-0/ab/0000000001.json", b"{}")
    with pytest.raises(BillingError, match=r"0000000001\.json: writer"):
        books.close("2026-11")


@pytest.mark.parametrize(
    "until", [None, dt.datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=dt.UTC)]
)
def test_a_writer_that_has_not_shipped_past_the_end_keeps_the_month_open(
    books: Books, until: dt.datetime | None
) -> None:
    _report(books, _writer(shipped_until=until))
    with pytest.raises(BillingError, match="may hold requests of it: router-0:b1, shipped"):
        books.close("2026-11")
    _report(books, _writer(shipped_until=dt.datetime(2026, 12, 1, tzinfo=dt.UTC)))
    books.close("2026-11")


def test_a_finished_writer_has_shipped_everything(books: Books) -> None:
    _report(books, _writer(shipped_until=None, finished=True))
    assert books.close("2026-11").accepted_losses == ()


def test_a_lost_volume_must_be_given_up_by_name_and_once(books: Books, days: StandInDays) -> None:
    lost = LostLedger(ledger_id="a0", last_shipped=None, shipped_until=None)
    _report(books, _writer(shipped_until=books.now, lost=(lost,)))
    (found,) = books.statement("2026-11").attention
    assert (found.kind, found.where) == ("lost-volume", "router-0:a0")
    with pytest.raises(BillingError, match=r"router-0:a0 \(lost\), shipped never"):
        books.close("2026-11")
    with pytest.raises(BillingError, match="router-0:zz: no such ledger is behind"):
        books.close("2026-11", accepted=(AcceptedLoss("router-0", "zz", "typo"),))
    given_up = AcceptedLoss("router-0", "a0", "the disk burnt")
    closed = books.close("2026-11", accepted=(given_up,))
    assert closed.accepted_losses == (given_up,)
    (named,) = closed.statement.attention
    assert named.kind == "accepted-loss"
    assert "the disk burnt" in named.detail
    later = books.close("2026-12")
    assert later.statement.attention == ()
    assert books.verify()[0].accepted_losses == (given_up,)


def test_a_damaged_segment_is_named(books: Books) -> None:
    _report(books, _writer(shipped_until=books.now, damaged=("segment-1: line 7 is damaged",)))
    (found,) = books.statement("2026-11").attention
    assert (found.kind, found.where) == ("damaged-segment", "router-0")
    assert "line 7 is damaged" in found.detail


def test_late_use_is_billed_once_in_the_next_open_month(books: Books, days: StandInDays) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    books.close("2026-10")
    days.add(usage(counts(2, (2_000_000, 0, 0)), day=OCTOBER))
    assert books.statement("2026-12").invoices == ()
    november = books.close("2026-11")
    (line,) = _lines(november.statement)
    assert (line.month, line.amount, line.counts.requests) == ("2026-10", Decimal("0.20"), 2)
    assert list(november.late) == ["2026-10-20"]
    assert books.close("2026-12").statement.invoices == ()
    assert sum(closed.statement.total_due for closed in books.verify()) == Decimal("0.30")


def test_each_line_leads_to_the_parts_that_hold_its_requests(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    first = books.close("2026-10").statement.parts["2026-10-20"]
    days.add(usage(MILLION, day=OCTOBER))
    open_parts = books.billed_parts("2026-11")
    second = books.close("2026-11").late["2026-10-20"]
    assert open_parts == books.billed_parts("2026-11")
    assert open_parts[0] == BilledPart(OCTOBER, second, less=first)
    assert len(open_parts) == 31
    assert all(part.less is None for part in open_parts[1:])
    assert BilledPart(OCTOBER, first, less=None) in books.billed_parts("2026-10")


def test_what_is_found_wrong_late_is_named_once(books: Books, days: StandInDays) -> None:
    early = Attention("clock", "router-0", "before")
    days.complain(OCTOBER, early)
    assert books.close("2026-10").statement.attention == (early,)
    late = Attention("clock", "router-1", "after")
    days.complain(OCTOBER, late)
    assert books.close("2026-11").statement.attention == (late,)
    assert books.close("2026-12").statement.attention == ()


def test_an_orphan_that_is_found_late_is_named_once(books: Books, days: StandInDays) -> None:
    lost = orphan("r1", admitted=dt.datetime(2026, 10, 20, tzinfo=dt.UTC))
    assert books.close("2026-10").statement.orphans == ()
    days.add_orphan(lost)
    assert books.close("2026-11").statement.orphans == (lost,)
    assert books.close("2026-12").statement.orphans == ()


def test_a_file_outside_of_any_day_is_named(books: Books) -> None:
    books.store.put("events/november/x.parquet", b"")
    with pytest.raises(BillingError, match=r"events/november/x\.parquet: 'november' is no day"):
        books.close("2026-11")


def test_of_two_who_close_a_month_one_is_told(books: Books) -> None:
    closed = books.close("2026-11")
    with pytest.raises(BillingError, match="2026-11 is closed already"):
        write(books.store, closed)


def test_use_before_the_first_closed_month_is_late_use(books: Books, days: StandInDays) -> None:
    books.close("2026-11")
    days.add(usage(MILLION, day=OCTOBER))
    books.store.put("events/day=2026-10-20/x.parquet", b"")
    with pytest.raises(BillingError, match="is before 2026-11, the first month that was closed"):
        books.statement("2026-10")
    assert [line.month for line in _lines(books.close("2026-12").statement)] == ["2026-10"]
    january = replace(books, now=dt.datetime(2027, 2, 2, tzinfo=dt.UTC))
    assert january.close("2027-01").statement.invoices == ()


def test_a_job_that_arrives_late_is_billed_once(books: Books) -> None:
    write_run(books.store, run(3_600_000, run_id="first", day=OCTOBER))
    books.close("2026-10")
    write_run(books.store, run(3_600_000, run_id="second", day=OCTOBER))
    assert [line.reference for line in _lines(books.close("2026-11").statement)] == ["second"]
    assert books.close("2026-12").statement.invoices == ()


def _credit(books: Books, amount: str, month: str = "2026-10") -> Any:
    order = order_credit(
        customer=CUSTOMER,
        amount=Decimal(amount),
        month=month,
        reason="an outage",
        by="finance",
        date=dt.date(2026, 12, 5),
    )
    return books.credit(order)


def test_a_credit_note_is_on_the_next_open_months_invoice(books: Books, days: StandInDays) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    credit, month = _credit(books, "4.00")
    assert (credit.id, month) == ("2026-10-0001", "2026-11")
    (line,) = _lines(books.close("2026-11").statement)
    assert (line.kind, line.amount, line.month, line.reference) == (
        "credit",
        Decimal("-4.00"),
        "2026-10",
        "2026-10-0001",
    )
    assert books.close("2026-12").statement.invoices == ()


def test_credits_of_a_month_never_exceed_what_was_owed(books: Books, days: StandInDays) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    with pytest.raises(BillingError, match="2026-10 is not closed"):
        _credit(books, "1.00")
    books.close("2026-10")
    _credit(books, "6.00")
    books.close("2026-11")
    with pytest.raises(
        BillingError, match=r"owed 10\.00 for 2026-10, and 6\.00 of it are credited"
    ):
        _credit(books, "4.01")
    credit, month = _credit(books, "4.00")
    assert (credit.id, month) == ("2026-10-0002", "2026-12")
    with pytest.raises(BillingError, match="would be more than was owed"):
        _credit(books, "0.01", "2026-11")


def test_a_credit_note_that_missed_its_month_is_on_the_next(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    other = replace(books)
    books.close("2026-11")
    credit, _ = _credit(other, "1.00")
    # As written by somebody who still saw November open.
    books.store.put(
        "credits/2026-11/2026-10-0009.json",
        documents.encode(credit.model_copy(update={"id": "2026-10-0009"})),
    )
    references = [line.reference for line in _lines(books.close("2026-12").statement)]
    assert references == ["2026-10-0001", "2026-10-0009"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": Decimal(0)}, "amount: Input should be greater than 0"),
        ({"amount": Decimal("1.001")}, "amount: "),
        ({"reason": "  "}, "reason: "),
    ],
)
def test_a_credit_note_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {"customer": "a", "amount": Decimal(1), "month": "2026-10", "reason": "r", "by": "b"}
    with pytest.raises(BillingError, match=message):
        order_credit(**{**values, "date": DAY, **changes})


def test_a_customer_without_an_invoice_gets_no_credit(books: Books) -> None:
    books.close("2026-10")
    with pytest.raises(BillingError, match="has no invoice for 2026-10; there are none"):
        _credit(books, "1.00")


def _change(values: dict[str, Any]) -> None:
    values["statement"]["invoices"][0]["due"] = "0.01"


def _resign(values: dict[str, Any]) -> None:
    _change(values)
    body = {key: value for key, value in values.items() if key != "digest"}
    values["digest"] = documents.digest(body)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change, r"closed/2026-10\.json was changed after the month was closed"),
        (_resign, "the chain is broken"),
        (lambda values: values.pop("late"), r"2026-10\.json was changed"),
        (lambda values: values.pop("digest"), "is not a closed month"),
        (lambda values: values.update(schema=2), "schema 2 is not known"),
    ],
)
def test_a_closed_month_that_was_changed_is_found(
    books: Books, days: StandInDays, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    books.close("2026-10")
    books.close("2026-11")
    key = "closed/2026-10.json"
    values = json.loads(books.store.get(key).data)
    change(values)
    books.store.put(key, documents.canonical(values) + b"\n")
    with pytest.raises(BillingError, match=message):
        books.verify()


def test_a_closed_month_that_was_removed_is_missed(books: Books, tmp_path: Path) -> None:
    for month in ("2026-09", "2026-10", "2026-11"):
        books.close(month)
    (tmp_path / "closed" / "2026-10.json").unlink()
    with pytest.raises(BillingError, match="jump from 2026-09 to 2026-11"):
        books.verify()
    (tmp_path / "closed" / "2026-09.json").unlink()
    with pytest.raises(BillingError, match=r"names sha256:[0-9a-f]+ as the month closed before it"):
        books.verify()


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2026-00", "November", "2026-11-01", ""])
def test_a_month_that_is_none_is_refused(books: Books, month: str) -> None:
    for ask in (books.statement, books.close, books.billed_parts):
        with pytest.raises(BillingError, match="write it as YYYY-MM"):
            ask(month)


def test_the_month_that_is_due_is_the_first_open_one_that_is_over(books: Books) -> None:
    assert books.due() is None
    books.store.put("pods/day=2026-11-20/x.json", b"")
    assert books.due() == "2026-11"
    books.close("2026-11")
    assert replace(books, now=dt.datetime(2027, 1, 1, 23, tzinfo=dt.UTC)).due() is None
    assert books.due() == "2026-12"
    books.close("2026-12")
    assert books.due() is None


def test_parts_are_made_for_the_days_of_open_months(books: Books) -> None:
    assert books.refresh() == 0
    books.store.put("events/day=2026-12-20/x.parquet", b"")
    assert books.refresh() == 31 + 2
    books.close("2026-12")
    assert books.refresh() == 2


def test_an_open_month_has_no_days_of_the_future(books: Books) -> None:
    today = replace(books, now=dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC))
    assert list(today.statement("2026-11").parts) == ["2026-11-01", "2026-11-02", "2026-11-03"]
