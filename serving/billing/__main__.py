"""`python -m serving.billing parts|close --config billing.json`: the scheduled jobs of billing.

parts: make the day parts of the open months, so that bills and the close find them.
close: close every month whose time has come, in order. Exit status 3: closed, and a person must
look at it (see its attention and orphans). Exit status 1: it cannot be closed yet, and why.
"""

import argparse
import datetime as dt
import sys
from pathlib import Path

from registry.errors import RegistryError
from serving.billing.books import Books
from serving.billing.command import ATTENTION_STATUS, needs_person
from serving.billing.config import BillingConfig
from serving.billing.errors import BillingError
from serving.billing.money import plain
from serving.billing.prices import read_prices
from serving.billing.warehouse_days import WarehouseDays
from serving.settings import SettingsError, load
from serving.warehouse.files import open_warehouse


def main() -> int:
    """Run a job. Exit status 2: the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m serving.billing", description=__doc__)
    parser.add_argument("job", choices=("parts", "close"))
    parser.add_argument("--config", type=Path, required=True, help="JSON file; see BillingConfig")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config, BillingConfig)
    except SettingsError as error:
        sys.stderr.write(f"billing: {error}\n")
        return 2
    try:
        books = _books(config)
        return _close(books) if arguments.job == "close" else _parts(books)
    except (BillingError, RegistryError) as error:
        sys.stderr.write(f"billing: {error}\n")
        return 1


def _books(config: BillingConfig) -> Books:
    days = WarehouseDays(open_warehouse(config.warehouse_uri), config.weights)
    return Books(
        environment=config.environment,
        store=days.warehouse.store,
        parts=days,
        prices=read_prices(config.prices),
        now=dt.datetime.now(dt.UTC),
    )


def _parts(books: Books) -> int:
    sys.stdout.write(f"{books.refresh()} day parts are up to date\n")
    return 0


def _close(books: Books) -> int:
    status = 0
    while (month := books.due()) is not None:
        closed = books.close(month)
        statement = closed.statement
        sys.stdout.write(
            f"closed {month}: {len(statement.invoices)} invoices, {plain(statement.total_due)} "
            f"{statement.currency}, {closed.digest}\n"
        )
        if needs_person(statement, books.now):
            status = ATTENTION_STATUS
    return status


if __name__ == "__main__":
    sys.exit(main())
