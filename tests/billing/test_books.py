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
from serving.billing.errors import BillingError
from serving.billing.notes import Note, order_note
from serving.billing.prices import PriceTable
from serving.billing.render import render_json
from serving.billing.runs import write_run
from serving.billing.statement import Line, Statement
from serving.billing.unbilled import AcceptedUnbilled
from serving.billing.usage import Attention
from serving.warehouse.layout import span, writer_key
from serving.warehouse.progress import nothing_shipped
from serving.warehouse.writers import LostLedger, WriterState
from tests.billing.builders import CUSTOMER, DAY, POOLS, counts, gpu, orphan, run, table, usage
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
    with pytest.raises(BillingError, match=r"unreadable-file:events/x\.parquet: no magic bytes"):
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
    with pytest.raises(BillingError, match=f"missing-file:{november}: was shipped"):
        books.close("2026-11")
    assert books.store.list("closed/") == []
    books.store.put(november, b"")
    assert books.close("2026-11").statement.attention == ()
    with pytest.raises(BillingError, match=december):
        books.close("2026-12")


def test_a_file_that_one_month_was_closed_without_keeps_no_later_month_open(books: Books) -> None:
    progress = nothing_shipped("router-0", "ab" * 8, 1).with_files(
        {"events/day=2026-11-30/": span(0, 90, 7)}
    )
    (key,) = progress.file_keys()
    books.store.put(progress.key, documents.encode(progress))
    accepted = AcceptedUnbilled("missing-file", key, "volume and backup are lost")
    closed = books.close("2026-11", unbilled=(accepted,))
    assert [(found.kind, found.where) for found in closed.statement.attention] == [
        ("missing-file", key)
    ]
    assert books.close("2026-12").statement.attention == ()


def test_progress_that_cannot_be_read_is_named(books: Books) -> None:
    books.store.put("shipped/router-0/ab/0000000001.json", b"{}")
    with pytest.raises(BillingError, match=r"0000000001\.json: writer"):
        books.close("2026-11")


def test_use_of_an_unknown_customer_keeps_the_month_open_until_it_is_accepted_by_name(
    books: Books, days: StandInDays
) -> None:
    books = replace(books, prices=table(customers={CUSTOMER: {}}))
    days.add(usage(MILLION, customer="stranger"))
    with pytest.raises(BillingError, match=r"unknown-customer:stranger: not billed: .* cost 0\.10"):
        books.close("2026-11")
    typo = AcceptedUnbilled("unknown-customer", "strangers", "a test account")
    with pytest.raises(BillingError, match="nothing like that; it has unknown-customer:stranger"):
        books.close("2026-11", unbilled=(typo,))
    accepted = replace(typo, where="stranger")
    closed = books.close("2026-11", unbilled=(accepted,))
    assert books.verify() == (closed,)
    assert closed.accepted_unbilled == (accepted,)
    assert closed.statement.invoices == ()


def test_what_is_accepted_for_one_customer_is_accepted_for_no_other(
    books: Books, days: StandInDays
) -> None:
    books = replace(books, prices=table(customers={CUSTOMER: {}}))
    days.add(usage(MILLION, customer="stranger"), usage(MILLION, customer="guest"))
    accepted = AcceptedUnbilled("unknown-customer", "stranger", "a test account")
    with pytest.raises(BillingError, match="--accept-unbilled unknown-customer:guest"):
        books.close("2026-11", unbilled=(accepted,))
    assert books.verify() == ()


def test_use_before_the_price_table_keeps_the_month_open_and_is_billed_with_a_price(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(MILLION))
    late = replace(books, prices=table(**{"from": "2026-11-04"}))
    with pytest.raises(BillingError, match=f"no-price:{CUSTOMER}: .* add a period that covers"):
        late.close("2026-11")
    assert books.close("2026-11").statement.total_due == Decimal("0.10")


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


def test_a_ledger_that_was_given_up_and_is_shipped_again_is_waited_for(books: Books) -> None:
    def shipped(day: int, month: int = 12) -> None:
        _report(books, _writer(shipped_until=dt.datetime(2026, month, day, tzinfo=dt.UTC)))

    shipped(20, month=11)
    closed = books.close("2026-11", accepted=(AcceptedLoss("router-0", "b1", "its node burnt"),))
    assert books.verify() == (closed,)
    [given_up] = closed.accepted_losses
    assert given_up.shipped_until == dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    assert books.statement("2026-12").attention == ()
    shipped(5)
    with pytest.raises(BillingError, match="may hold requests of it: router-0:b1, shipped until"):
        books.close("2026-12")


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
    assert open_parts[0] == BilledPart(OCTOBER, second, less=(first,))
    assert len(open_parts) == 31
    assert all(part.less == () for part in open_parts[1:])
    assert BilledPart(OCTOBER, first, less=()) in books.billed_parts("2026-10")


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


def _platform(books: Books, month: str) -> list[tuple[str, int]]:
    return [(line.kind, line.gpu_ms) for line in books.statement(month).platform]


def test_gpu_time_that_is_reported_late_is_the_platforms(books: Books, days: StandInDays) -> None:
    days.add(gpu(1_000, kind="idle", day=OCTOBER))
    books.close("2026-10")
    days.add(gpu(500, day=OCTOBER), gpu(70, kind="idle", day=OCTOBER, pod="vllm-1"))
    november = books.close("2026-11").statement
    assert (_platform(books, "2026-11"), november.invoices) == ([("late", 570)], ())
    days.add(gpu(30, kind="unmeasured", day=OCTOBER, pod="vllm-1"))
    assert _platform(books, "2026-12") == [("late", 30)]
    books.close("2026-12")
    stated = [line.gpu_ms for closed in books.verify() for line in closed.statement.platform]
    assert sum(stated) == 1_600


def test_a_report_of_pods_that_is_gone_and_comes_back_counts_once(
    books: Books, days: StandInDays
) -> None:
    days.add(gpu(1_000, kind="idle", day=OCTOBER))
    books.close("2026-10")
    days.forget(OCTOBER)
    assert _platform(books, "2026-11") == []
    books.close("2026-11")
    days.add(gpu(1_001, kind="idle", day=OCTOBER))
    assert _platform(books, "2026-12") == [("late", 1)]


def test_gpu_time_before_the_first_closed_month_is_billed_as_what_it_was(
    books: Books, days: StandInDays
) -> None:
    books.close("2026-11")
    days.add(gpu(3_600_000, day=OCTOBER), gpu(7, kind="idle", day=OCTOBER))
    books.store.put("pods/day=2026-10-20/x.json", b"")
    december = books.close("2026-12").statement
    (line,) = _lines(december)
    assert (line.kind, line.month, line.gpu_ms) == ("gpu_time", "2026-10", 3_600_000)
    assert "after that month was closed" in line.note
    assert _platform(books, "2026-12") == [("idle", 7)]
    assert december.days == ()


def test_files_of_days_that_have_not_come_are_named(books: Books, days: StandInDays) -> None:
    books.store.put("events/day=2027-01-03/x.parquet", b"")
    books.store.put("events/day=2027-01-04/x.parquet", b"")
    (found,) = books.close("2026-11").statement.attention
    assert (found.kind, found.where) == ("clock", "events/day=2027-01-04/")
    days.add(usage(MILLION, day=dt.date(2027, 1, 4)))
    books.close("2026-12")
    then = replace(books, now=dt.datetime(2027, 2, 2, tzinfo=dt.UTC)).close("2027-01").statement
    assert (then.attention, then.total_due) == ((), Decimal("0.10"))


def test_months_before_the_first_price_are_not_to_be_closed(books: Books) -> None:
    books.store.put("events/day=1970-01-01/x.parquet", b"")
    assert (books.due(), books.refresh()) == (None, 0)
    books.store.put("events/day=2026-11-20/x.parquet", b"")
    assert books.due() == "2026-11"
    books.close("2026-11")
    assert books.verify()[0].late.keys() == {"1970-01-01"}


def test_late_use_before_the_first_price_keeps_the_month_open_until_it_is_accepted(
    books: Books, days: StandInDays
) -> None:
    days.add(usage(MILLION))
    books.close("2026-11")
    day = dt.date(1970, 1, 1)
    books.store.put("events/day=1970-01-01/x.parquet", b"")
    days.add(usage(MILLION, day=day))
    with pytest.raises(BillingError, match=f"no-price:{CUSTOMER}: .* begins on 2026-01-01"):
        books.close("2026-12")
    accepted = AcceptedUnbilled("no-price", CUSTOMER, "a test with a wrong clock")
    december = books.close("2026-12", unbilled=(accepted,))
    assert (december.statement.invoices, december.late.keys()) == ((), {"1970-01-01"})


def test_a_file_outside_of_any_day_is_named(books: Books) -> None:
    books.store.put("events/november/x.parquet", b"")
    with pytest.raises(BillingError, match=r"events/november/x\.parquet: 'november' is no day"):
        books.close("2026-11")


def test_of_two_who_close_a_month_one_is_told(books: Books) -> None:
    closed = books.close("2026-11")
    with pytest.raises(BillingError, match="2026-11 is closed already"):
        write(books.store, closed)


CHEAP = {"slm": {"input": "0.01", "cached_input": "0.01", "output": "0.01"}}


@pytest.mark.parametrize(
    ("changed", "day"),
    [
        (table(pools=CHEAP), "2026-01-01"),
        (table(**{"from": "2026-02-01"}), "2026-01-01"),
        (table({"from": "2026-10-31", "pools": CHEAP}), "2026-10-31"),
        (table({"from": "2026-05-01", "pools": CHEAP}), "2026-01-01"),
        (table(customers={CUSTOMER: {}}), "2026-01-01"),
    ],
)
def test_prices_of_a_closed_month_cannot_be_changed_for_its_late_use(
    books: Books, days: StandInDays, changed: PriceTable, day: str
) -> None:
    books = replace(books, prices=table())
    days.add(usage(MILLION, day=OCTOBER))
    closed = books.close("2026-10")
    days.add(usage(MILLION, day=OCTOBER))
    other = replace(books, prices=changed)
    for ask in (other.statement, other.close):
        with pytest.raises(BillingError, match=f"period from {day} on was changed, removed or add"):
            ask("2026-11")
    assert other.statement("2026-10") == closed.statement


def test_prices_that_begin_after_the_closed_months_may_be_added_and_changed(
    books: Books, days: StandInDays
) -> None:
    early = {"from": "2026-03-01", "pools": POOLS}
    same = {**POOLS, "slm": {**POOLS["slm"], "output": "0.400"}}
    days.add(usage(MILLION, day=OCTOBER))
    replace(books, prices=table(early)).close("2026-10")
    days.add(usage(MILLION, day=OCTOBER))
    # January's prices reach into no closed month, and March's are the same written otherwise.
    later = table({**early, "pools": same}, {"from": "2026-11-01", "pools": CHEAP}, pools=CHEAP)
    (line,) = _lines(replace(books, prices=later).close("2026-11").statement)
    assert (line.month, line.amount) == ("2026-10", Decimal("0.10"))


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


def _note(books: Books, amount: str, month: str = "2026-10", **changes: Any) -> Note:
    values = {
        "kind": "credit",
        "customer": CUSTOMER,
        "amount": Decimal(amount),
        "month": month,
        "reason": "an outage",
        "by": "finance",
        "date": dt.date(2026, 12, 5),
        **changes,
    }
    return books.note(order_note(**values))


@pytest.mark.parametrize(("kind", "amount"), [("credit", "-4.00"), ("debit", "4.00")])
def test_a_note_is_on_the_next_open_months_invoice(
    books: Books, days: StandInDays, kind: str, amount: str
) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    note = _note(books, "4.00", kind=kind)
    assert (note.id, note.appears_in) == ("2026-10-0001", "2026-11")
    (line,) = _lines(books.close("2026-11").statement)
    assert (line.kind, line.amount, line.month, line.reference) == (
        kind,
        Decimal(amount),
        "2026-10",
        "2026-10-0001",
    )
    assert books.close("2026-12").statement.invoices == ()


def test_credits_of_a_month_never_exceed_what_was_owed(books: Books, days: StandInDays) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    with pytest.raises(BillingError, match="2026-10 is not closed"):
        _note(books, "1.00")
    books.close("2026-10")
    _note(books, "6.00")
    _note(books, "1.00", kind="debit")
    books.close("2026-11")
    with pytest.raises(
        BillingError, match=r"owed 10\.00 for 2026-10, and 6\.00 of it are credited"
    ):
        _note(books, "4.01")
    note = _note(books, "4.00")
    assert (note.id, note.appears_in) == ("2026-10-0003", "2026-12")
    with pytest.raises(BillingError, match="would be more than was owed"):
        _note(books, "0.01", "2026-11")


class _ClosesBetween(DirectoryStore):
    """A store in which something else happens after the notes were listed."""

    meanwhile: Callable[[], object] | None = None

    def list(self, prefix: str) -> list[str]:
        found = super().list(prefix)
        if prefix.startswith("notes/") and self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return found


def test_of_two_credits_around_a_close_one_is_told_and_no_more_than_owed_is_credited(
    books: Books, days: StandInDays, tmp_path: Path
) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    store = _ClosesBetween(tmp_path)

    def meanwhile() -> None:
        books.close("2026-11")
        assert _note(books, "9.00").appears_in == "2026-12"

    store.meanwhile = meanwhile
    with pytest.raises(BillingError, match=r"2026-10-0001\.json was written a moment ago"):
        _note(replace(books, store=store), "9.00")
    with pytest.raises(BillingError, match="would be more than was owed"):
        _note(books, "9.00")
    assert [line.amount for line in _lines(books.close("2026-12").statement)] == [Decimal(-9)]


def test_a_note_that_missed_its_month_is_on_the_next(
    books: Books, days: StandInDays, tmp_path: Path
) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    store = _ClosesBetween(tmp_path)
    store.meanwhile = lambda: books.close("2026-11")
    assert _note(replace(books, store=store), "1.00").appears_in == "2026-11"
    assert books.statement("2026-11").invoices == ()
    (line,) = _lines(books.close("2026-12").statement)
    assert (line.reference, line.amount) == ("2026-10-0001", Decimal(-1))


def test_a_note_that_was_removed_or_moved_is_named(
    books: Books, days: StandInDays, tmp_path: Path
) -> None:
    days.add(usage(counts(1, (100_000_000, 0, 0)), day=OCTOBER))
    books.close("2026-10")
    for _ in range(2):
        _note(books, "1.00")
    folder = tmp_path / "notes" / "2026-10"
    (folder / "2026-10-0001.json").rename(tmp_path / "kept")
    for ask in (lambda: _note(books, "1.00"), lambda: books.statement("2026-11")):
        with pytest.raises(BillingError, match=r"2026-10-0001\.json is not there: it was removed"):
            ask()
    (folder / "2026-10-0002.json").rename(folder / "2026-10-0001.json")
    with pytest.raises(BillingError, match=r"2026-10-0001\.json: it is '2026-10-0002'"):
        books.statement("2026-11")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": Decimal(0)}, "credit note: amount: Input should be greater than 0"),
        ({"amount": Decimal("1.001")}, "amount: "),
        ({"reason": "  "}, "reason: "),
        ({"kind": "gift"}, "gift note: kind: "),
    ],
)
def test_a_note_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {
        "kind": "credit",
        "customer": "a",
        "amount": Decimal(1),
        "month": "2026-10",
        "reason": "r",
        "by": "b",
        "date": DAY,
    }
    with pytest.raises(BillingError, match=message):
        order_note(**{**values, **changes})


def test_a_customer_without_an_invoice_gets_no_credit_and_a_debit_when_it_is_known(
    books: Books,
) -> None:
    books = replace(books, prices=table(customers={CUSTOMER: {}}))
    books.close("2026-10")
    with pytest.raises(BillingError, match="has no invoice for 2026-10; there are none"):
        _note(books, "1.00")
    with pytest.raises(BillingError, match="'stranger' has no invoice for 2026-10"):
        _note(books, "1.00", kind="debit", customer="stranger")
    _note(books, "1.00", kind="debit")
    (invoice,) = books.close("2026-11").statement.invoices
    assert (invoice.customer, invoice.due) == (CUSTOMER, Decimal("1.00"))


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
        (_resign, r"2026-10\.json is not what was closed: its digest is sha256:"),
        (lambda values: values.pop("late"), r"2026-10\.json was changed"),
        (lambda values: values.pop("digest"), "is not a closed month"),
        (lambda values: values.update(schema=2), "schema 2 is not known"),
    ],
)
def test_a_closed_month_that_was_changed_is_found(
    books: Books,
    days: StandInDays,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    books.close("2026-10")
    books.close("2026-11")
    path = tmp_path / "closed" / "2026-10.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_bytes(documents.canonical(values) + b"\n")
    with pytest.raises(BillingError, match=message):
        books.verify()


def test_a_closed_month_that_was_changed_with_its_head_breaks_the_chain(
    books: Books, days: StandInDays, tmp_path: Path
) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    books.close("2026-10")
    books.close("2026-11")
    path = tmp_path / "closed" / "2026-10.json"
    values = json.loads(path.read_bytes())
    _resign(values)
    path.write_bytes(documents.canonical(values) + b"\n")
    head = {"month": "2026-10", "digest": values["digest"]}
    (tmp_path / "closed-heads" / "2026-10.json").write_text(json.dumps(head))
    with pytest.raises(BillingError, match=r"2026-11\.json names sha256:.*the chain is broken"):
        books.verify()


@pytest.mark.parametrize("removed", [("2026-11",), ("2026-10", "2026-11")])
def test_closed_months_that_were_removed_are_missed_by_their_heads(
    books: Books, days: StandInDays, tmp_path: Path, removed: tuple[str, ...]
) -> None:
    days.add(usage(MILLION, day=OCTOBER))
    for month in ("2026-10", "2026-11"):
        books.close(month)
    for month in removed:
        (tmp_path / "closed" / f"{month}.json").unlink()
    dearer = replace(
        books, prices=table(pools={"slm": {"input": "9", "cached_input": "9", "output": "9"}})
    )
    asked: tuple[Callable[[], object], ...] = (
        books.verify,
        books.due,
        lambda: dearer.close(removed[0]),
        lambda: dearer.statement(removed[0]),
        lambda: dearer.statement("2026-12"),
    )
    for ask in asked:
        with pytest.raises(BillingError, match=f"says that {removed[0]} was closed with digest"):
            ask()


def test_a_closed_month_in_between_that_was_removed_is_missed(books: Books, tmp_path: Path) -> None:
    for month in ("2026-09", "2026-10", "2026-11"):
        books.close(month)
    for folder in ("closed", "closed-heads"):
        (tmp_path / folder / "2026-10.json").unlink()
    with pytest.raises(BillingError, match="jump from 2026-09 to 2026-11"):
        books.verify()
    for folder in ("closed", "closed-heads"):
        (tmp_path / folder / "2026-09.json").unlink()
    with pytest.raises(BillingError, match=r"names sha256:[0-9a-f]+ as the month closed before it"):
        books.verify()


def test_a_close_that_broke_off_is_finished_with_what_was_written(
    books: Books, days: StandInDays, tmp_path: Path
) -> None:
    days.add(usage(MILLION))
    closed = books.close("2026-11")
    (tmp_path / "closed-heads" / "2026-11.json").unlink()
    with pytest.raises(BillingError, match=r"has no closed-heads/2026-11\.json"):
        books.verify()
    days.add(usage(MILLION))
    assert books.due() == "2026-11"
    assert books.close("2026-11") == closed
    assert books.verify() == (closed,)
    assert books.due() == "2026-12"


def test_a_head_that_cannot_be_read_or_is_of_another_month_is_named(
    books: Books, tmp_path: Path
) -> None:
    books.close("2026-11")
    path = tmp_path / "closed-heads" / "2026-11.json"
    path.write_text(path.read_text().replace("2026-11", "2026-10"))
    with pytest.raises(BillingError, match="does not hold the head of 2026-11"):
        books.verify()
    path.write_text("{}")
    with pytest.raises(BillingError, match=r"closed-heads/2026-11\.json: month: Field required"):
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
