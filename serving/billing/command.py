"""What `pipeline bill` does."""

from enum import StrEnum
from pathlib import Path

from rich.console import Console

from serving.billing.bill import bill
from serving.billing.prices import read_prices
from serving.billing.render import render_csv, render_json, render_table


class BillFormat(StrEnum):
    """How a bill is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def print_bill(
    ledger_dir: Path, month: str, prices: Path, form: BillFormat, console: Console
) -> None:
    """Print the bill of a month on a console; CSV and JSON go out byte for byte.

    Raises:
        BillingError: when the bill cannot be made.
    """
    made = bill(ledger_dir, month, read_prices(prices))
    if form is BillFormat.TABLE:
        console.print(render_table(made))
        return
    console.file.write(render_csv(made) if form is BillFormat.CSV else render_json(made))
