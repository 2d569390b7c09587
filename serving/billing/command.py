"""What the commands do with a statement: print it, write it, and say whether a person must look."""

import datetime as dt
import io
from enum import StrEnum
from pathlib import Path
from typing import Final

from rich.console import Console

from serving.billing.errors import BillingError
from serving.billing.focus import render_focus
from serving.billing.render import render_csv, render_json, render_table
from serving.billing.statement import Statement
from serving.billing.usage import Counts

ATTENTION_STATUS: Final = 3
"""Exit status when the bill is made and a person must look at it."""
IN_FLIGHT: Final = dt.timedelta(hours=1)
"""A request without an end may still run for this long after its admission."""
UNMEASURED_PERCENT: Final = 1
"""Share of a customer's requests without a token count, above which a person must look: single ones
come from streams that were cut off, more than that from a model server that does not report."""
_FILE_WIDTH: Final = 160


class BillFormat(StrEnum):
    """How a bill is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    FOCUS = "focus"
    HTML = "html"


def print_statement(statement: Statement, form: BillFormat, console: Console) -> None:
    """Print a statement on a console; all but the table go out byte for byte.

    Raises:
        BillingError: The format is one of files.
    """
    if form is BillFormat.TABLE:
        console.print(render_table(statement))
    elif form is BillFormat.HTML:
        raise BillingError("--format html writes several files: say where with --out DIR")
    else:
        console.file.write(_text(statement, form))


def write_statement(statement: Statement, form: BillFormat, folder: Path) -> list[Path]:
    """Write a statement into a folder, which is made, and return the files."""
    if form is BillFormat.HTML:
        from serving.billing.pages import render_html  # noqa: PLC0415  matplotlib takes a second

        contents = render_html(statement)
    else:
        contents = {_name(statement.month, form): _text(statement, form).encode()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def needs_person(statement: Statement, now: dt.datetime) -> bool:
    """Whether anything is not billed that a person must look at.

    A request without an end counts when it cannot be in flight any more, and requests that nobody
    measured when they are more than `UNMEASURED_PERCENT` of a customer's. A loss that was given up
    when the month was closed does not count.
    """
    return (
        any(found.kind not in {"accepted-loss", "unmeasured"} for found in statement.attention)
        or any(orphan.admitted < now - IN_FLIGHT for orphan in statement.orphans)
        or any(_often_unmeasured(invoice.counts) for invoice in statement.invoices)
    )


def _often_unmeasured(counts: Counts) -> bool:
    return 100 * counts.unmeasured > UNMEASURED_PERCENT * counts.requests


def _text(statement: Statement, form: BillFormat) -> str:
    if form is BillFormat.CSV:
        return render_csv(statement)
    if form is BillFormat.FOCUS:
        return render_focus(statement)
    if form is BillFormat.JSON:
        return render_json(statement)
    stream = io.StringIO()
    Console(file=stream, width=_FILE_WIDTH).print(render_table(statement))
    return stream.getvalue()


def _name(month: str, form: BillFormat) -> str:
    return {
        BillFormat.TABLE: f"bill-{month}.txt",
        BillFormat.CSV: f"bill-{month}.csv",
        BillFormat.JSON: f"bill-{month}.json",
        BillFormat.FOCUS: f"focus-{month}.csv",
    }[form]
