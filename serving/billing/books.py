"""An environment's books: bills of open months, the close of a month, credit notes."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from registry.store import ObjectStore
from serving.billing import closed as closed_months
from serving.billing import months
from serving.billing.charges import make_statement
from serving.billing.closed import AcceptedLoss, ClosedMonth
from serving.billing.credits import Credit, CreditOrder, write_credit
from serving.billing.errors import BillingError
from serving.billing.open_month import DayParts, billed_until, gather, months_with_usage
from serving.billing.prices import PriceTable
from serving.billing.statement import Statement
from serving.billing.usage import Attention
from serving.billing.writers import refuse_behind

GRACE: Final = dt.timedelta(days=1)
"""Time after a month's end in which requests of its last day end and are shipped."""
_NOT_READ: Final = frozenset({"missing-file", "unreadable-file"})


@dataclass(frozen=True)
class BilledPart:
    """A day that a month bills: what the part holds, less what an earlier one held."""

    day: dt.date
    digest: str
    less: str | None
    """Digest of the part that an earlier month billed."""


@dataclass(frozen=True)
class Books:
    """An environment's months: open ones from its warehouse, closed ones as they were written."""

    environment: str
    store: ObjectStore
    parts: DayParts
    prices: PriceTable
    now: dt.datetime

    def statement(self, month: str) -> Statement:
        """Return a month's statement; of a closed month, what was written when it was closed.

        Raises:
            BillingError: It cannot be made, or a closed month was changed.
        """
        months.first_day(month)
        stored = closed_months.read(self.store, month)
        if stored is not None:
            return stored.statement
        chain = closed_months.read_chain(self.store)
        found = gather(self.store, self.parts, month, chain, now=self.now)
        return make_statement(found.inputs, self.environment, self.prices)

    def close(
        self,
        month: str,
        *,
        accepted: Sequence[AcceptedLoss] = (),
        grace: dt.timedelta = GRACE,
    ) -> ClosedMonth:
        """Close a month.

        Args:
            month: `YYYY-MM`.
            accepted: Ledgers that are lost for good.
            grace: Time to wait after the month's end.

        Raises:
            BillingError: The month is closed, not over, or not the next to close; a ledger may
                hold more of it; a file is missing or cannot be read; or its statement cannot be
                made.
        """
        chain = closed_months.read_chain(self.store)
        _refuse_early(month, self.now, grace)
        _refuse_out_of_order(self.store, month, chain)
        found = gather(self.store, self.parts, month, chain, now=self.now, accepted=accepted)
        refuse_behind(found.behind, accepted, month)
        statement = make_statement(found.inputs, self.environment, self.prices, closed=True)
        _refuse_unreadable(statement.attention, month)
        losses = sorted(accepted, key=lambda loss: loss.name)
        closed = closed_months.seal(statement, found.late_parts, tuple(losses))
        closed_months.write(self.store, closed)
        return closed

    def due(self, *, grace: dt.timedelta = GRACE) -> str | None:
        """Return the next month to close, when its time has come.

        Raises:
            BillingError: A closed month was changed.
        """
        month = self._first_open()
        return month if month and months.bounds(month)[1] + grace <= self.now else None

    def refresh(self) -> int:
        """Make the parts of the open months' days, so that a bill finds them; return their number.

        Raises:
            BillingError: A closed month was changed, or a part cannot be made.
        """
        month = self._first_open()
        if month is None:
            return 0
        first, today = months.first_day(month), self.now.date()
        days = [first + dt.timedelta(days=offset) for offset in range((today - first).days + 1)]
        for day in days:
            self.parts.current(day)
        return len(days)

    def credit(self, order: CreditOrder) -> tuple[Credit, str]:
        """Write a credit note.

        Returns:
            The note, and the open month whose invoice it appears on.

        Raises:
            BillingError: The month that it corrects is open, the customer owed nothing then, or
                the credits would come to more than was owed.
        """
        chain = closed_months.read_chain(self.store)
        corrected = next((each for each in chain if each.month == order.month), None)
        if corrected is None:
            raise BillingError(
                f"{order.month} is not closed: correct what it is made from, not its invoice"
            )
        owed = {each.customer: each.due for each in corrected.statement.invoices}
        if order.customer not in owed:
            raise BillingError(
                f"{order.customer!r} has no invoice for {order.month}; "
                f"there are {', '.join(owed) or 'none'}"
            )
        appears_in = months.following(chain[-1].month)
        return (
            write_credit(self.store, order, appears_in=appears_in, owed=owed[order.customer]),
            appears_in,
        )

    def billed_parts(self, month: str) -> tuple[BilledPart, ...]:
        """Return where the requests of a month's lines are, by day.

        Raises:
            BillingError: As `statement`.
        """
        months.first_day(month)
        chain = closed_months.read_chain(self.store)
        earlier = [closed for closed in chain if closed.month < month]
        stored = next((closed for closed in chain if closed.month == month), None)
        if stored is not None:
            digests = stored.billed_parts
        else:
            found = gather(self.store, self.parts, month, chain, now=self.now)
            own = {part.day.isoformat(): part.digest for part in found.inputs.parts}
            digests = {**found.late_parts, **own}
        less = billed_until(earlier)
        days = {dt.date.fromisoformat(day): digest for day, digest in digests.items()}
        return tuple(BilledPart(day, digest, less.get(day)) for day, digest in sorted(days.items()))

    def verify(self) -> tuple[ClosedMonth, ...]:
        """Return the closed months, oldest first, each proven to be what was written.

        Raises:
            BillingError: One was changed, or the chain is broken.
        """
        return closed_months.read_chain(self.store)

    def _first_open(self) -> str | None:
        chain = closed_months.read_chain(self.store)
        if chain:
            return months.following(chain[-1].month)
        this_month = months.month_of(self.now.date())
        return next(iter(months_with_usage(self.store, months.following(this_month))), None)


def _refuse_early(month: str, now: dt.datetime, grace: dt.timedelta) -> None:
    possible = months.bounds(month)[1] + grace
    if now < possible:
        raise BillingError(
            f"{month} cannot be closed before {possible.isoformat()}: requests of its last day "
            "may still end and be shipped"
        )


def _refuse_out_of_order(store: ObjectStore, month: str, chain: Sequence[ClosedMonth]) -> None:
    if any(closed.month == month for closed in chain):
        raise BillingError(
            f"{month} is closed already and never changes: correct it with a credit note"
        )
    if chain and month != months.following(chain[-1].month):
        raise BillingError(
            f"{month} cannot be closed: the next month to close is "
            f"{months.following(chain[-1].month)}"
        )
    if not chain and (earlier := months_with_usage(store, month)):
        raise BillingError(
            f"{month} cannot be closed: {', '.join(earlier)} had usage and is open; "
            f"close {earlier[0]} first"
        )


def _refuse_unreadable(found: Iterable[Attention], month: str) -> None:
    files = [each for each in found if each.kind in _NOT_READ]
    if files:
        named = "; ".join(f"{each.where}: {each.detail}" for each in files)
        raise BillingError(
            f"{month} cannot be closed: a file is missing or cannot be read: {named}"
        )
