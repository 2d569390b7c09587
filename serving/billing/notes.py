"""Notes: how a closed month is corrected, by an amount that is taken off or added.

A note is written once, under the month that it corrects, and says on which month's invoice it
appears. Its number counts the notes on the corrected month, so of two that are written at the same
time one fails and looks again.
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from registry import documents
from registry.documents import Document
from registry.errors import PreconditionFailedError, RegistryError
from registry.store import ObjectStore
from serving.billing import money
from serving.billing.errors import BillingError
from serving.billing.statement import Line
from serving.warehouse.layout import NOTES, note_key, note_month, notes_folder

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class NoteOrder(Document):
    """What somebody asks to be credited or debited."""

    kind: Literal["credit", "debit"]
    customer: _Text
    amount: Decimal = Field(gt=0, decimal_places=2, max_digits=18)
    """What is taken off (credit) or added (debit)."""
    month: str
    """The closed month to correct."""
    reason: _Text
    by: _Text
    date: dt.date


class Note(NoteOrder):
    """A credit or debit note."""

    schema_version: Literal[1] = 1
    id: str
    appears_in: str
    """The month whose invoice it is on; a later one where that was closed meanwhile."""

    def line(self) -> Line:
        """What it is on an invoice."""
        return Line(
            kind=self.kind,
            customer=self.customer,
            amount=money.negative(self.amount) if self.kind == "credit" else self.amount,
            month=self.month,
            reference=self.id,
            note=self.reason,
        )


def order_note(**values: Any) -> NoteOrder:
    """Check what somebody asks for.

    Raises:
        BillingError: A value cannot be.
    """
    try:
        return NoteOrder(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise BillingError(
            f"{values.get('kind')} note: {first['loc'][0]}: {first['msg']} "
            f"(found {first['input']!r})"
        ) from error


def read_notes(store: ObjectStore) -> tuple[Note, ...]:
    """Return all notes, by the month that they correct.

    Raises:
        BillingError: One cannot be read, is not under the name of its id, or is missing.
    """
    corrected = sorted({note_month(key) for key in store.list(NOTES)})
    return tuple(note for month in corrected for note in _notes_on(store, month))


def write_note(store: ObjectStore, order: NoteOrder, *, appears_in: str, owed: Decimal) -> Note:
    """Write a note, once.

    Args:
        store: The warehouse.
        order: What to credit or debit.
        appears_in: The open month whose invoice it appears on.
        owed: What the invoice that it corrects says is due.

    Raises:
        BillingError: The invoice's credits would come to more than was owed, or another note on the
            month was written at the same time.
    """
    notes = _notes_on(store, order.month)
    if order.kind == "credit":
        _refuse_excess(notes, order, owed)
    note = Note(id=_id(order.month, len(notes) + 1), appears_in=appears_in, **order.model_dump())
    key = note_key(note.month, note.id)
    try:
        store.put(key, documents.encode(note), if_none_match=True)
    except PreconditionFailedError as error:
        raise BillingError(
            f"{key} was written a moment ago: look whether it is what you want, and try again"
        ) from error
    return note


def _refuse_excess(notes: Iterable[Note], order: NoteOrder, owed: Decimal) -> None:
    # A debit raises the invoice that it appears on, and is credited there.
    before = money.add(
        note.amount for note in notes if (note.kind, note.customer) == ("credit", order.customer)
    )
    if money.add((before, order.amount)) > owed:
        raise BillingError(
            f"{order.customer} owed {money.plain(owed)} for {order.month}, and "
            f"{money.plain(before)} of it are credited already: another "
            f"{money.plain(order.amount)} would be more than was owed"
        )


def _notes_on(store: ObjectStore, month: str) -> tuple[Note, ...]:
    found = store.list(notes_folder(month))
    expected = sorted(note_key(month, _id(month, number + 1)) for number in range(len(found)))
    if found != expected:
        missing = sorted(set(expected) - set(found))
        raise BillingError(f"{missing[0]} is not there: it was removed; restore it from a backup")
    return tuple(_read(store, key) for key in found)


def _id(month: str, number: int) -> str:
    return f"{month}-{number:04}"


def _read(store: ObjectStore, key: str) -> Note:
    try:
        note, _ = documents.read(store, key, Note)
    except RegistryError as error:
        raise BillingError(f"note {error}") from error
    if key != note_key(note.month, note.id):
        raise BillingError(f"note {key}: it is {note.id!r} on {note.month}")
    return note
