"""Credit notes: how a closed month is corrected.

A note is written once, under the month whose invoice it appears on. Its number counts the notes on
the corrected month, so of two that are written at the same time one fails and looks again.
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
from serving.warehouse.layout import CREDITS, credit_key, credit_month

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class CreditOrder(Document):
    """What somebody asks to be credited."""

    customer: _Text
    amount: Decimal = Field(gt=0, decimal_places=2, max_digits=18)
    month: str
    """The closed month to correct."""
    reason: _Text
    by: _Text
    date: dt.date


class Credit(CreditOrder):
    """A credit note."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")

    def line(self) -> Line:
        """What it is on an invoice."""
        return Line(
            kind="credit",
            customer=self.customer,
            amount=money.negative(self.amount),
            month=self.month,
            reference=self.id,
            note=self.reason,
        )


def order_credit(**values: Any) -> CreditOrder:
    """Check what somebody asks for.

    Raises:
        BillingError: A value cannot be.
    """
    try:
        return CreditOrder(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise BillingError(
            f"credit note: {first['loc'][0]}: {first['msg']} (found {first['input']!r})"
        ) from error


def read_credits(store: ObjectStore) -> dict[str, tuple[Credit, ...]]:
    """Return all credit notes by the month whose invoice they appear on.

    Raises:
        BillingError: One cannot be read, or is not under the name of its id.
    """
    found: dict[str, tuple[Credit, ...]] = {}
    for key in store.list(CREDITS):
        month = credit_month(key)
        found[month] = (*found.get(month, ()), _read(store, key))
    return found


def write_credit(
    store: ObjectStore, order: CreditOrder, *, appears_in: str, owed: Decimal
) -> Credit:
    """Write a credit note, once.

    Args:
        store: The warehouse.
        order: What to credit.
        appears_in: The open month whose invoice it appears on.
        owed: What the customer owed for the month that it corrects.

    Raises:
        BillingError: The month's credits would come to more than was owed, or another note was
            written at the same time.
    """
    notes = [
        note
        for written in read_credits(store).values()
        for note in written
        if note.month == order.month
    ]
    _refuse_excess(notes, order, owed)
    credit = Credit(id=f"{order.month}-{len(notes) + 1:04}", **order.model_dump())
    key = credit_key(appears_in, credit.id)
    try:
        store.put(key, documents.encode(credit), if_none_match=True)
    except PreconditionFailedError as error:
        raise BillingError(
            f"{key} was written a moment ago: look whether it is what you want, and try again"
        ) from error
    return credit


def _refuse_excess(notes: Iterable[Credit], order: CreditOrder, owed: Decimal) -> None:
    before = money.add(note.amount for note in notes if note.customer == order.customer)
    if money.add((before, order.amount)) > owed:
        raise BillingError(
            f"{order.customer} owed {money.plain(owed)} for {order.month}, and "
            f"{money.plain(before)} of it are credited already: another "
            f"{money.plain(order.amount)} would be more than was owed"
        )


def _read(store: ObjectStore, key: str) -> Credit:
    try:
        credit, _ = documents.read(store, key, Credit)
    except RegistryError as error:
        raise BillingError(f"credit note {error}") from error
    if not key.endswith(f"/{credit.id}.json"):
        raise BillingError(f"credit note {key}: its id is {credit.id!r}")
    return credit
