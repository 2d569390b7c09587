"""An environment's books: bills of open months, the close of a month, notes on closed ones."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from registry.store import ObjectStore
from serving.billing import closed as closed_months
from serving.billing import money, months
from serving.billing.charges import make_statement
from serving.billing.closed import AcceptedLoss, ClosedMonth, Closing
from serving.billing.days import DayParts
from serving.billing.errors import BillingError
from serving.billing.late import billed_by
from serving.billing.notes import Note, NoteOrder, write_note
from serving.billing.open_month import OpenMonth, gather, months_with_usage
from serving.billing.prices import PriceTable
from serving.billing.statement import Statement
from serving.billing.unbilled import AcceptedUnbilled, refuse_forfeited
from serving.billing.writers import as_given_up, refuse_behind

GRACE: Final = dt.timedelta(days=1)
"""Time after a month's end in which requests of its last day end and are shipped."""


@dataclass(frozen=True)
class BilledPart:
    """A day that a month bills: what the part holds, less what earlier ones held."""

    day: dt.date
    digest: str
    less: tuple[str, ...]
    """Digests of the parts that earlier months billed."""


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
        closed_months.refuse_changed_prices(chain, self.prices)
        found = self._gather(month, chain)
        return make_statement(found.inputs, self.environment, self.prices)

    def close(
        self,
        month: str,
        *,
        accepted: Sequence[AcceptedLoss] = (),
        unbilled: Sequence[AcceptedUnbilled] = (),
        grace: dt.timedelta = GRACE,
    ) -> ClosedMonth:
        """Close a month; where that was interrupted, finish it with what was written.

        Args:
            month: `YYYY-MM`.
            accepted: Ledgers that are lost for good.
            unbilled: What stays unbilled for good.
            grace: Time to wait after the month's end.

        Raises:
            BillingError: The month is closed, not over, or not the next to close; a ledger may
                hold more of it; it would forfeit what can be billed; or its statement cannot be
                made.
        """
        months.first_day(month)
        if (finished := closed_months.finish(self.store, month)) is not None:
            return finished
        chain = closed_months.read_chain(self.store)
        _refuse_early(month, self.now, grace)
        self._refuse_out_of_order(month, chain)
        closed_months.refuse_changed_prices(chain, self.prices)
        found = self._gather(month, chain, accepted)
        refuse_behind(found.behind, accepted, month)
        statement = make_statement(found.inputs, self.environment, self.prices, closed=True)
        refuse_forfeited(statement.attention, unbilled, month)
        closed = closed_months.seal(
            Closing(
                statement=statement,
                late=found.late_parts,
                accepted_losses=as_given_up(accepted, found.behind),
                accepted_unbilled=tuple(sorted(unbilled, key=lambda each: each.name)),
                price_periods=self.prices.digests_of(month),
            )
        )
        closed_months.write(self.store, closed)
        return closed

    def due(self, *, grace: dt.timedelta = GRACE) -> str | None:
        """Return the next month to close, when its time has come; first one whose close broke off.

        Raises:
            BillingError: A closed month was changed.
        """
        if (broken_off := closed_months.unfinished(self.store)) is not None:
            return broken_off
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

    def note(self, order: NoteOrder) -> Note:
        """Write a credit or debit note, which appears on the next open month's invoice.

        Raises:
            BillingError: The month that it corrects is open; the customer has no invoice there (for
                a debit: and is unknown); or the credits would come to more than was owed.
        """
        chain = closed_months.read_chain(self.store)
        corrected = next((each for each in chain if each.month == order.month), None)
        if corrected is None:
            raise BillingError(
                f"{order.month} is not closed: correct what it is made from, not its invoice"
            )
        owed = {each.customer: each.due for each in corrected.statement.invoices}
        # A debit may be the first that a customer pays for a month.
        known = order.kind == "debit" and self.prices.at(self.now.date()).terms(order.customer)
        if order.customer not in owed and not known:
            raise BillingError(
                f"{order.customer!r} has no invoice for {order.month}; "
                f"there are {', '.join(owed) or 'none'}"
            )
        return write_note(
            self.store,
            order,
            appears_in=months.following(chain[-1].month),
            owed=owed.get(order.customer, money.ZERO),
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
            found = self._gather(month, chain)
            own = {part.day.isoformat(): part.digest for part in found.inputs.parts}
            digests = {**found.late_parts, **own}
        less = billed_by(earlier)
        days = {dt.date.fromisoformat(day): digest for day, digest in digests.items()}
        return tuple(
            BilledPart(day, digest, less.get(day, ())) for day, digest in sorted(days.items())
        )

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
        return next(iter(self._with_usage(months.following(this_month))), None)

    def _with_usage(self, before: str) -> list[str]:
        # Use before the first price is that of a writer whose clock is wrong.
        return months_with_usage(self.store, before, since=self.prices.begins)

    def _gather(
        self, month: str, chain: Sequence[ClosedMonth], accepted: Sequence[AcceptedLoss] = ()
    ) -> OpenMonth:
        return gather(
            self.store,
            self.parts,
            month,
            chain,
            is_next=self._is_next(month, chain),
            now=self.now,
            accepted=accepted,
        )

    def _is_next(self, month: str, chain: Sequence[ClosedMonth]) -> bool:
        if chain:
            return month == months.following(chain[-1].month)
        return not self._with_usage(month)

    def _refuse_out_of_order(self, month: str, chain: Sequence[ClosedMonth]) -> None:
        if any(closed.month == month for closed in chain):
            raise BillingError(
                f"{month} is closed already and never changes: correct it with a note"
            )
        if chain and month != months.following(chain[-1].month):
            raise BillingError(
                f"{month} cannot be closed: the next month to close is "
                f"{months.following(chain[-1].month)}"
            )
        if not chain and (earlier := self._with_usage(month)):
            raise BillingError(
                f"{month} cannot be closed: {', '.join(earlier)} had usage and is open; "
                f"close {earlier[0]} first"
            )


def _refuse_early(month: str, now: dt.datetime, grace: dt.timedelta) -> None:
    possible = months.bounds(month)[1] + grace
    if now < possible:
        raise BillingError(
            f"{month} cannot be closed before {possible.isoformat()}: requests of its last day "
            "may still end and be shipped"
        )
