"""Closed months: documents that never change, each naming the one before it."""

import json
from dataclasses import dataclass
from typing import Any, Final, Self

from registry import documents
from registry.errors import NotFoundError, PreconditionFailedError
from registry.store import ObjectStore
from serving.billing import months
from serving.billing.codec import from_json, to_json
from serving.billing.errors import BillingError
from serving.billing.statement import Statement
from serving.warehouse.layout import CLOSED, closed_key, closed_month

_SCHEMA: Final = 1


@dataclass(frozen=True)
class AcceptedLoss:
    """A ledger that closing did not wait for, and why."""

    writer: str
    ledger_id: str
    reason: str

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


@dataclass(frozen=True)
class ClosedMonth:
    """A closed month. Its statement holds the digests of its parts, prices and predecessor."""

    statement: Statement
    late: dict[str, str]
    """Digest of the part up to which each earlier day is billed, by ISO day."""
    accepted_losses: tuple[AcceptedLoss, ...]
    digest: str
    """`sha256:…` of everything else in the document."""

    @property
    def month(self) -> str:
        """`YYYY-MM`."""
        return self.statement.month

    @property
    def billed_parts(self) -> dict[str, str]:
        """Digest of the part up to which each day is billed by this month, by ISO day."""
        return {**self.late, **self.statement.parts}

    def encode(self) -> bytes:
        """The stored form: canonical JSON and a newline."""
        body = _body(self.statement, self.late, self.accepted_losses)
        return _document(body, self.digest)


def seal(
    statement: Statement, late: dict[str, str], accepted_losses: tuple[AcceptedLoss, ...]
) -> ClosedMonth:
    """Make the document of a closed month."""
    digest = documents.digest(_body(statement, late, accepted_losses))
    return ClosedMonth(statement, late, accepted_losses, digest)


def write(store: ObjectStore, closed: ClosedMonth) -> None:
    """Write a closed month, once.

    Raises:
        BillingError: It is closed already.
    """
    key = closed_key(closed.month)
    try:
        store.put(key, closed.encode(), if_none_match=True)
    except PreconditionFailedError as error:
        raise BillingError(
            f"{closed.month} is closed already and never changes: correct it with a credit note"
        ) from error


def read(store: ObjectStore, month: str) -> ClosedMonth | None:
    """Return a closed month, or None where it is open.

    Raises:
        BillingError: The document is not what was written when the month was closed.
    """
    key = closed_key(month)
    try:
        data = store.get(key).data
    except NotFoundError:
        return None
    closed = _decode(data, key)
    if closed.month != month or not closed.statement.closed:
        raise BillingError(f"{key} does not hold the closed month {month}")
    return closed


def read_chain(store: ObjectStore) -> tuple[ClosedMonth, ...]:
    """Return all closed months, oldest first, and verify them.

    Raises:
        BillingError: A document was changed, a month is missing between two, or a document does not
            name the one before it.
    """
    chain: list[ClosedMonth] = []
    for key in store.list(CLOSED):
        month = closed_month(key)
        closed = read(store, month)
        if closed is None:
            raise BillingError(f"{key} is not the name of a closed month: remove it")
        _refuse_break(chain[-1] if chain else None, closed)
        chain.append(closed)
    return tuple(chain)


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


def _body(
    statement: Statement, late: dict[str, str], accepted_losses: tuple[AcceptedLoss, ...]
) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "statement": to_json(statement),
        "late": late,
        "accepted_losses": to_json(accepted_losses),
    }


def _document(body: dict[str, Any], digest: str) -> bytes:
    return documents.canonical({**body, "digest": digest}) + b"\n"


def _decode(data: bytes, key: str) -> ClosedMonth:
    try:
        body = json.loads(data)
        digest = body.pop("digest")
        schema = body["schema"]
        if schema != _SCHEMA:
            raise BillingError(f"{key}: schema {schema!r} is not known (this reads {_SCHEMA})")
        if documents.digest(body) != digest or _document(body, digest) != data:
            raise BillingError(f"{key} was changed after the month was closed: its digest is wrong")
        return ClosedMonth(
            statement=from_json(body["statement"], key),
            late=dict(body["late"]),
            accepted_losses=tuple(AcceptedLoss(**loss) for loss in body["accepted_losses"]),
            digest=digest,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BillingError(f"{key} is not a closed month: {error}") from error
