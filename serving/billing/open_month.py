"""What a month's statement is made from, as the warehouse holds it."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.billing import months
from serving.billing.charges import MonthInputs
from serving.billing.closed import AcceptedLoss, ClosedMonth
from serving.billing.days import DayParts
from serving.billing.errors import BillingError
from serving.billing.late import Late, billed_by, late_days
from serving.billing.notes import Note, read_notes
from serving.billing.parts import SOURCES, unchanged
from serving.billing.reported import ReportedDays, day_of
from serving.billing.runs import read_runs
from serving.billing.statement import NOTE_KINDS, Line
from serving.billing.usage import Attention, RunRow
from serving.billing.writers import Behind, attention, behind, read_writers
from serving.warehouse import layout
from serving.warehouse.missing import MissingFile, missing_files
from serving.warehouse.writers import WriterState

_LISTED: Final = (*SOURCES, layout.PARTS)


@dataclass(frozen=True)
class OpenMonth:
    """An open month, and what closing it has to know."""

    inputs: MonthInputs
    late_parts: dict[str, str]
    """Digest of the part up to which the month bills each earlier day, by ISO day."""
    behind: tuple[Behind, ...]
    """Ledgers that may hold requests of the month and were not given up before."""


@dataclass(frozen=True)
class _Scope:
    """A month, and the months closed before it, which say what it bills.

    The next month to close also bills what arrived late: use in closed months and in those before
    the first one, earlier jobs, and notes that missed theirs.
    """

    month: str
    chain: Sequence[ClosedMonth]
    is_next: bool
    """Whether it is the next month to close."""

    def bills(self, month: str) -> bool:
        """Whether it bills what belongs to a month and is not billed yet."""
        return month == self.month or (self.is_next and month < self.month)

    def billed_lines(self) -> Iterator[Line]:
        for closed in self.chain:
            for invoice in closed.statement.invoices:
                yield from invoice.lines

    def behind(self, writers: Iterable[WriterState]) -> tuple[Behind, ...]:
        """Ledgers that may hold requests of the month and were not given up before.

        One that was shipped further since it was given up lives, and is among them again.
        """
        given_up = {
            (loss.name, loss.shipped_until)
            for closed in self.chain
            for loss in closed.accepted_losses
        }
        found = behind(writers, months.bounds(self.month)[1])
        return tuple(each for each in found if (each.name, each.shipped_until) not in given_up)


def gather(
    store: ObjectStore,
    parts: DayParts,
    month: str,
    chain: Sequence[ClosedMonth],
    *,
    is_next: bool,
    now: dt.datetime,
    accepted: Iterable[AcceptedLoss] = (),
) -> OpenMonth:
    """Read what an open month is made from, late use of earlier ones included.

    Args:
        store: The warehouse's objects.
        parts: The warehouse's days.
        month: `YYYY-MM`, not closed.
        chain: The closed months, oldest first.
        is_next: Whether it is the next month to close.
        now: Days after this have nothing yet.
        accepted: Ledgers that are given up now.

    Raises:
        BillingError: The month is before the first closed one, or an object cannot be read.
    """
    _refuse_before_first(month, chain)
    scope = _Scope(month, chain, is_next)
    marks = {key: mark for folder in _LISTED for key, mark in store.marks(folder).items()}
    reported = ReportedDays.of(marks)
    late = _late(marks, reported, parts, scope) if is_next else Late()
    own = tuple(parts.current(day) for day in months.days(month) if day <= now.date())
    writers = read_writers(store)
    found = scope.behind(writers)
    inputs = MonthInputs(
        month=month,
        parts=own,
        late=late.rows,
        late_gpu=late.gpu,
        late_orphans=late.orphans,
        runs=_runs(store, scope),
        notes=_notes(store, scope),
        attention=(
            *late.attention,
            *attention(found, accepted, writers),
            *_missing(store, scope),
            *reported.ahead(now),
            *reported.short(own, now),
        ),
        previous=chain[-1].digest if chain else None,
    )
    return OpenMonth(inputs, late.parts, found)


def months_with_usage(store: ObjectStore, before: str, *, since: dt.date) -> list[str]:
    """Return the months before one of which anything was reported, oldest first.

    Args:
        store: The warehouse's objects.
        before: `YYYY-MM`.
        since: Months before this day's are left out.
    """
    reported = ReportedDays.of(key for folder in SOURCES for key in store.list(folder))
    found = {months.month_of(day) for day in reported.all()}
    found |= {months.month_of(run.day) for run in read_runs(store)}
    return sorted(month for month in found if months.month_of(since) <= month < before)


def _refuse_before_first(month: str, chain: Sequence[ClosedMonth]) -> None:
    if chain and month < chain[0].month:
        raise BillingError(
            f"{month} is before {chain[0].month}, the first month that was closed: what it used "
            "is billed as late use in the next open month"
        )


def _late(marks: Mapping[str, str], reported: ReportedDays, parts: DayParts, scope: _Scope) -> Late:
    billed = billed_by(scope.chain)
    first = scope.chain[0].month if scope.chain else scope.month
    earlier = {day for day in reported.all() if months.month_of(day) < first}
    same = unchanged(marks, {day: digests[-1] for day, digests in billed.items()})
    return late_days(parts, (earlier | billed.keys()) - same, billed)


def _missing(store: ObjectStore, scope: _Scope) -> list[Attention]:
    """Name the files that are gone of a month and of those before it, whose late use it bills.

    One that a closed month did without, and says so, keeps no later month open.
    """
    given_up = {
        (each.kind, each.where) for closed in scope.chain for each in closed.accepted_unbilled
    }
    try:
        found = missing_files(store)
    except RegistryError as error:
        raise BillingError(f"shipping: {error}") from error
    named = [
        Attention("missing-file", file.key, _advice(file))
        for file in found
        if months.month_of(day_of(file.key)) <= scope.month
    ]
    return [each for each in named if (each.kind, each.where) not in given_up]


def _advice(file: MissingFile) -> str:
    shipped = file.progress
    return (
        "was shipped and is gone, its requests are not billed: put it back from a backup of the "
        f"warehouse; or remove {shipped.key} and restart the shipper of {shipped.writer}: while "
        f"segment {shipped.segment} is on its volume, it is shipped again; when both are lost, "
        "close the month without it"
    )


def _runs(store: ObjectStore, scope: _Scope) -> tuple[RunRow, ...]:
    billed = {
        (line.domain, line.reference)
        for line in scope.billed_lines()
        if line.kind in {"training", "evaluation"}
    }
    return tuple(
        run
        for run in read_runs(store)
        if (run.domain, run.run_id) not in billed and scope.bills(months.month_of(run.day))
    )


def _notes(store: ObjectStore, scope: _Scope) -> tuple[Note, ...]:
    billed = {line.reference for line in scope.billed_lines() if line.kind in NOTE_KINDS}
    return tuple(
        note for note in read_notes(store) if note.id not in billed and scope.bills(note.appears_in)
    )
