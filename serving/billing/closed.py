"""Closed months: documents that never change, each naming the one before it.

Each has a *head*, a second create-only object with its digest, so that a month cannot be removed,
or removed and closed again, unnoticed. Whoever can delete both can: the digest that closing prints
is for finance to keep.
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import TypeAdapter

from registry import documents
from registry.documents import Document
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.store import ObjectStore
from serving.billing import months
from serving.billing.codec import from_json, to_json
from serving.billing.errors import BillingError
from serving.billing.prices import PriceTable
from serving.billing.statement import Statement
from serving.billing.unbilled import AcceptedUnbilled
from serving.warehouse.layout import (
    CLOSED,
    CLOSED_HEADS,
    closed_head_key,
    closed_head_month,
    closed_key,
    closed_month,
)

_SCHEMA: Final = 1


@dataclass(frozen=True)
class AcceptedLoss:
    """A ledger that closing did not wait for, and why."""

    writer: str
    ledger_id: str
    reason: str
    shipped_until: dt.datetime | None = None
    """How far it was shipped then. Once that has moved it is not lost, and is waited for again."""

    @property
    def name(self) -> str:
        """`WRITER:LEDGER_ID`, as the command line takes it."""
        return f"{self.writer}:{self.ledger_id}"

    @classmethod
    def named(cls, name: str, reason: str) -> Self:
        """Make one of `WRITER:LEDGER_ID`.

        Raises:
            BillingError: The name is another text, or there is no reason.
        """
        writer, _, ledger_id = name.rpartition(":")
        if not writer or not ledger_id:
            raise BillingError(f"--accept-lost {name!r}: write it as WRITER:LEDGER_ID")
        if not reason.strip():
            raise BillingError(f"--accept-lost {name}: give a --reason, which is kept")
        return cls(writer, ledger_id, reason.strip())


class Head(Document):
    """`closed-heads/<month>.json`: that a month was closed, and what it was then."""

    month: str
    digest: str


@dataclass(frozen=True)
class Closing:
    """What closing a month writes down.

    Its statement holds the digests of its parts, prices and predecessor.
    """

    statement: Statement
    late: dict[str, str]
    """Digest of the part up to which each earlier day is billed, by ISO day."""
    accepted_losses: tuple[AcceptedLoss, ...]
    accepted_unbilled: tuple[AcceptedUnbilled, ...]
    price_periods: dict[str, str]
    """Digest of each period of the price table that the month has a day in, by its first day."""

    @property
    def month(self) -> str:
        """`YYYY-MM`."""
        return self.statement.month

    @property
    def billed_parts(self) -> dict[str, str]:
        """Digest of the part up to which each day is billed by this month, by ISO day."""
        return {**self.late, **self.statement.parts}


@dataclass(frozen=True)
class ClosedMonth(Closing):
    """A closed month."""

    digest: str
    """`sha256:…` of everything else in the document."""

    def encode(self) -> bytes:
        """The stored form: canonical JSON and a newline."""
        return _encode(_values(self))


_CLOSED: Final = TypeAdapter(ClosedMonth)


def seal(closing: Closing) -> ClosedMonth:
    """Make the document of a closed month."""
    return ClosedMonth(**vars(closing), digest=documents.digest(_values(closing)))


def write(store: ObjectStore, closed: ClosedMonth) -> None:
    """Write a closed month and its head, once.

    Raises:
        BillingError: It is closed already.
    """
    key = closed_key(closed.month)
    try:
        store.put(key, closed.encode(), if_none_match=True)
    except PreconditionFailedError as error:
        raise BillingError(
            f"{closed.month} is closed already and never changes: correct it with a note"
        ) from error
    _write_head(store, closed)


def unfinished(store: ObjectStore) -> str | None:
    """Return the first month whose close was interrupted before its head was written."""
    return min(_documents(store) - _heads(store), default=None)


def finish(store: ObjectStore, month: str) -> ClosedMonth | None:
    """Write the head of a month that lacks nothing else, and return the month; else None.

    Raises:
        BillingError: The document is not what was written when the month was closed.
    """
    closed = _read_document(store, month)
    if closed is None or _read_head(store, month) is not None:
        return None
    _write_head(store, closed)
    return closed


def read(store: ObjectStore, month: str) -> ClosedMonth | None:
    """Return a closed month, or None where it is open.

    Raises:
        BillingError: The document is not what was written when the month was closed, or one of the
            month's two objects is missing.
    """
    closed, head = _read_document(store, month), _read_head(store, month)
    if closed is None and head is None:
        return None
    if closed is None or head is None:
        raise BillingError(_incomplete(month, head))
    if head.digest != closed.digest:
        raise BillingError(
            f"{closed_key(month)} is not what was closed: its digest is {closed.digest}, and "
            f"{closed_head_key(month)} says {head.digest}; restore what was replaced"
        )
    return closed


def read_chain(store: ObjectStore) -> tuple[ClosedMonth, ...]:
    """Return all closed months, oldest first, and verify them.

    Raises:
        BillingError: A document was changed, a month or its head is missing, or a document does not
            name the one before it.
    """
    chain: list[ClosedMonth] = []
    for month in sorted(_documents(store) | _heads(store)):
        closed = read(store, month)
        if closed is None:
            raise BillingError(f"{CLOSED}{month} is not the name of a closed month: remove it")
        _refuse_break(chain[-1] if chain else None, closed)
        chain.append(closed)
    return tuple(chain)


def refuse_changed_prices(chain: Iterable[ClosedMonth], prices: PriceTable) -> None:
    """Refuse prices that are not those of the closed months: late use would get others.

    Raises:
        BillingError: A period that reaches into a closed month was changed, removed or added.
    """
    for closed in chain:
        now = prices.digests_of(closed.month)
        if now == closed.price_periods:
            continue
        changed = sorted(
            day
            for day in now.keys() | closed.price_periods.keys()
            if now.get(day) != closed.price_periods.get(day)
        )
        raise BillingError(
            f"the price period from {changed[0]} on was changed, removed or added after "
            f"{closed.month}, which it reaches into, was closed: put it back as it was, and add a "
            "period that begins in an open month"
        )


def _documents(store: ObjectStore) -> set[str]:
    return {closed_month(key) for key in store.list(CLOSED)}


def _heads(store: ObjectStore) -> set[str]:
    return {closed_head_month(key) for key in store.list(CLOSED_HEADS)}


def _incomplete(month: str, head: Head | None) -> str:
    if head is not None:
        return (
            f"{closed_head_key(month)} says that {month} was closed with digest {head.digest}, and "
            f"{closed_key(month)} is not there: it was removed; restore it from a backup"
        )
    return (
        f"{closed_key(month)} has no {closed_head_key(month)}: its close was interrupted, or that "
        f"was removed; close {month} once more, which writes it, and compare the digest"
    )


def _refuse_break(before: ClosedMonth | None, closed: ClosedMonth) -> None:
    named = closed.statement.previous
    if before is not None and months.following(before.month) != closed.month:
        raise BillingError(
            f"closed months jump from {before.month} to {closed.month}: one in between was removed"
        )
    expected = before.digest if before else None
    if named != expected:
        raise BillingError(
            f"{closed_key(closed.month)} names {named} as the month closed before it, which "
            f"{'is ' + str(expected) if before else 'is not there'}: the chain is broken"
        )


def _write_head(store: ObjectStore, closed: ClosedMonth) -> None:
    head = Head(month=closed.month, digest=closed.digest)
    try:
        store.put(closed_head_key(closed.month), documents.encode(head), if_none_match=True)
    except PreconditionFailedError:
        # Whoever finished the same close wrote the same; anything else is found here.
        read(store, closed.month)


def _read_head(store: ObjectStore, month: str) -> Head | None:
    key = closed_head_key(month)
    try:
        head, _ = documents.read(store, key, Head)
    except NotFoundError:
        return None
    except RegistryError as error:
        raise BillingError(f"head of a closed month {error}") from error
    if head.month != month:
        raise BillingError(f"{key} does not hold the head of {month}")
    return head


def _read_document(store: ObjectStore, month: str) -> ClosedMonth | None:
    key = closed_key(month)
    try:
        data = store.get(key).data
    except NotFoundError:
        return None
    closed = _decode(data, key)
    if closed.month != month or not closed.statement.closed:
        raise BillingError(f"{key} does not hold the closed month {month}")
    return closed


def _values(closing: Closing) -> dict[str, Any]:
    return {"schema": _SCHEMA, **to_json(closing)}


def _encode(values: dict[str, Any]) -> bytes:
    return documents.canonical(values) + b"\n"


def _decode(data: bytes, key: str) -> ClosedMonth:
    try:
        values = json.loads(data)
        schema, digest = values["schema"], values["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise BillingError(f"{key} is not a closed month: {error}") from error
    if schema != _SCHEMA:
        raise BillingError(f"{key}: schema {schema!r} is not known (this reads {_SCHEMA})")
    body = {name: value for name, value in values.items() if name != "digest"}
    if documents.digest(body) != digest or _encode(values) != data:
        raise BillingError(f"{key} was changed after the month was closed: its digest is wrong")
    return from_json(_CLOSED, values, key)
