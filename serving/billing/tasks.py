"""What finance and the schedule ask of an environment's books.

`python -m serving.billing` and `pipeline bill` ask the same. A task writes its answer to standard
output; those that bill return an exit status. All raise BillingError and RegistryError.
"""

import csv
import datetime as dt
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console

from registry.store import open_store
from serving.billing.books import Books
from serving.billing.closed import AcceptedLoss, ClosedMonth
from serving.billing.command import (
    ATTENTION_STATUS,
    BillFormat,
    needs_person,
    print_statement,
    write_statement,
)
from serving.billing.config import BillingConfig
from serving.billing.errors import BillingError
from serving.billing.money import plain
from serving.billing.months import month_of
from serving.billing.notes import NoteOrder
from serving.billing.part_events import BilledRequest
from serving.billing.prices import read_prices
from serving.billing.runs import collect_runs
from serving.billing.statement import Statement
from serving.billing.unbilled import AcceptedUnbilled
from serving.billing.warehouse_days import WarehouseDays
from serving.warehouse.files import open_warehouse


def open_books(config: BillingConfig, now: dt.datetime) -> Books:
    """Open the books as they are now."""
    days = _days(config)
    return Books(
        environment=config.environment,
        store=days.warehouse.store,
        parts=days,
        prices=read_prices(config.prices),
        now=now,
    )


def refresh(config: BillingConfig, now: dt.datetime) -> None:
    """Make the day parts of the open months, so that bills and the close find them."""
    sys.stdout.write(f"{open_books(config, now).refresh()} day parts are up to date\n")


def bill(
    config: BillingConfig,
    now: dt.datetime,
    *,
    month: str | None = None,
    form: BillFormat = BillFormat.TABLE,
    out: Path | None = None,
) -> int:
    """Print the bill of a month, by default the running one, or write it into a folder."""
    books = _books_with_runs(config, now)
    statement = books.statement(month or month_of(now.date()))
    if out is None:
        print_statement(statement, form, Console())
    else:
        for path in write_statement(statement, form, out):
            sys.stdout.write(f"{path}\n")
    return _status([statement], now)


def close(
    config: BillingConfig,
    now: dt.datetime,
    *,
    month: str | None = None,
    accepted: Sequence[AcceptedLoss] = (),
    unbilled: Sequence[AcceptedUnbilled] = (),
) -> int:
    """Close a month, or every month whose time has come, in their order."""
    names = [*(each.name for each in accepted), *(each.name for each in unbilled)]
    if names and month is None:
        raise BillingError(f"{names[0]} is accepted: say for which --month")
    books = _books_with_runs(config, now)
    found = (
        [books.close(month, accepted=accepted, unbilled=unbilled)] if month else _close_due(books)
    )
    statements: list[Statement] = []
    for closed in found:
        statement = closed.statement
        sys.stdout.write(
            f"closed {closed.month}: {len(statement.invoices)} invoices, "
            f"{plain(statement.total_due)} {statement.currency}; digest to keep: {closed.digest}\n"
        )
        statements.append(statement)
    return _status(statements, now)


def note(config: BillingConfig, now: dt.datetime, order: NoteOrder) -> None:
    """Write a credit or debit note for a closed month."""
    books = open_books(config, now)
    written = books.note(order)
    sys.stdout.write(
        f"{written.kind} note {written.id}: {plain(written.amount)} {books.prices.currency} for "
        f"{written.customer}, on the invoice of {written.appears_in}\n"
    )


def verify(config: BillingConfig, now: dt.datetime) -> None:
    """Prove that the closed months are what was written, and that none is missing."""
    chain = open_books(config, now).verify()
    if not chain:
        sys.stdout.write("no month is closed\n")
    for closed in chain:
        sys.stdout.write(f"{closed.month} {closed.digest} {plain(closed.statement.total_due)}\n")


def requests(
    config: BillingConfig,
    now: dt.datetime,
    *,
    month: str,
    customer: str,
    domain: str | None = None,
    served_model: str | None = None,
) -> None:
    """List the requests behind a customer's lines as CSV."""
    days = _days(config)
    names = [field.name for field in fields(BilledRequest)]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    for part in open_books(config, now).billed_parts(month):
        found = days.requests(part, customer=customer, domain=domain, served_model=served_model)
        writer.writerows(asdict(request) for request in found)


def _days(config: BillingConfig) -> WarehouseDays:
    return WarehouseDays(open_warehouse(config.warehouse_uri, config.cache), config.weights)


def _books_with_runs(config: BillingConfig, now: dt.datetime) -> Books:
    """Write down the GPU time of jobs that ended, and open the books."""
    books = open_books(config, now)
    collect_runs(open_store(config.registry_uri), books.store, config.customers)
    return books


def _close_due(books: Books) -> Iterator[ClosedMonth]:
    while (month := books.due()) is not None:
        yield books.close(month)


def _status(statements: Iterable[Statement], now: dt.datetime) -> int:
    return ATTENTION_STATUS if any(needs_person(each, now) for each in statements) else 0
