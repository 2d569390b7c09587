"""Tables as the templates show them. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from serving.billing.pages.formats import amount

_SHORT_ROWS: Final = 8
_PHONE_CHARACTERS: Final = 22
_SHEET_CHARACTERS: Final = 64


@dataclass(frozen=True)
class Column:
    """Heading of a column, and how its cells are set."""

    title: str
    form: Literal["text", "number", "code"] = "text"


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str = ""
    beyond: str = ""
    """Digits of an amount after the cents."""
    pad: int = 0
    """Digits to leave free on the right, so that a column's decimal points are in line."""
    notes: tuple[str, ...] = ()
    """Small lines below the text."""
    href: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A captioned table; the first cell of a row is its heading."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footer: tuple[Row, ...] = ()

    @property
    def short(self) -> bool:
        """Whether it is worth keeping on one sheet."""
        return len(self.rows) <= _SHORT_ROWS

    @property
    def width(self) -> str:
        """How much room its numbers, which are never broken, leave for the rest.

        A `slim` table fits a phone; others are shown there as one block for each row. A `dense` one
        fits a sheet in small print only.
        """
        characters = sum(
            max(len(row[index].text + row[index].beyond) for row in self.rows + self.footer)
            for index, column in enumerate(self.columns)
            if column.form == "number"
        )
        if len(self.columns) <= 3 and characters <= _PHONE_CHARACTERS:
            return "slim"
        return "wide" if characters <= _SHEET_CHARACTERS else "wide dense"


def amount_cell(value: Decimal, *notes: str) -> Cell:
    """Return the cell of an exact amount."""
    text, beyond = amount(value)
    return Cell(text, beyond, notes=notes)


def make_table(
    caption: str, columns: Iterable[Column], rows: Iterable[Row], footer: Iterable[Row] = ()
) -> Table:
    """Return a table without the columns that are empty in each row, its amounts in line."""
    columns, rows, footer = tuple(columns), tuple(rows), tuple(footer)
    shown = [
        index
        for index in range(len(columns))
        if not rows or any(row[index] != Cell() for row in rows)
    ]
    places = {
        index: max((len(row[index].beyond) for row in rows + footer), default=0) for index in shown
    }

    def laid_out(row: Row) -> Row:
        return tuple(
            replace(row[index], pad=places[index] - len(row[index].beyond)) for index in shown
        )

    return Table(
        caption,
        tuple(columns[index] for index in shown),
        tuple(map(laid_out, rows)),
        tuple(map(laid_out, footer)),
    )
