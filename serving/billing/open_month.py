"""What a month's statement is made from, as the warehouse holds it."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.billing import months
from serving.billing.charges import MonthInputs
from serving.billing.closed import AcceptedLoss, ClosedMonth
from serving.billing.errors import BillingError
from serving.billing.notes import Note, read_notes
from serving.billing.runs import read_runs
from serving.billing.statement import NOTE_KINDS, Line
from serving.billing.usage import Attention, DayPart, Orphan, RunRow, UsageRow
from serving.billing.writers import Behind, attention, behind, read_writers
from serving.warehouse import layout
from serving.warehouse.missing import MissingFile, missing_files
from serving.warehouse.writers import WriterState

_REQUESTS: Final = (layout.EVENTS, layout.ORPHANS)


class DayParts(Protocol):
    """The days of a warehouse."""

    def current(self, day: dt.date) -> DayPart:
        """The part of everything that has arrived of a day."""

    def frozen(self, day: dt.date, digest: str) -> DayPart:
        """A part as it was when a month was closed."""

    def late(self, day: dt.date, digest: str) -> tuple[DayPart, tuple[UsageRow, ...]]:
        """The newest part of a day, and the usage in it that the part of this digest lacks."""


@dataclass(frozen=True)
class OpenMonth:
    """An open month, and what closing it has to know."""

    inputs: MonthInputs
    late_parts: dict[str, str]
    """Digest of the part up to which the month bills each earlier day, by ISO day."""
    behind: tuple[Behind, ...]
    """Ledgers that may hold requests of the month and were not given up before."""


@dataclass(frozen=True)
class _Late:
    rows: tuple[UsageRow, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    attention: tuple[Attention, ...] = ()
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Scope:
    """A month, and the months closed before it, which say what it bills.

    The month after the newest closed one also bills what arrived late: use in closed months,
    earlier jobs, and notes that missed theirs. Late GPU time is not billed: it was idle
    or unmeasured when its day was closed.
    """

    month: str
    chain: Sequence[ClosedMonth]

    @property
    def is_next(self) -> bool:
        return bool(self.chain) and self.month == months.following(self.chain[-1].month)

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
    now: dt.datetime,
    accepted: Iterable[AcceptedLoss] = (),
) -> OpenMonth:
    """Read what an open month is made from, late use of earlier ones included.

    Args:
        store: The warehouse's objects.
        parts: The warehouse's days.
        month: `YYYY-MM`, not closed.
        chain: The closed months, oldest first.
        now: Days after this have nothing yet.
        accepted: Ledgers that are given up now.

    Raises:
        BillingError: The month is before the first closed one, or an object cannot be read.
    """
    _refuse_before_first(month, chain)
    scope = _Scope(month, chain)
    late = _late(store, parts, chain) if scope.is_next else _Late()
    writers = read_writers(store)
    found = scope.behind(writers)
    inputs = MonthInputs(
        month=month,
        parts=tuple(parts.current(day) for day in months.days(month) if day <= now.date()),
        late=late.rows,
        late_orphans=late.orphans,
        runs=_runs(store, scope),
        notes=_notes(store, scope),
        attention=(*late.attention, *attention(found, accepted, writers), *_missing(store, scope)),
        previous=chain[-1].digest if chain else None,
    )
    return OpenMonth(inputs, late.parts, found)


def months_with_usage(store: ObjectStore, before: str) -> list[str]:
    """Return the months before one of which anything was reported, oldest first."""
    found = {
        months.month_of(day)
        for folder in (*_REQUESTS, layout.PODS)
        for day in days_in(store, folder)
    }
    found |= {months.month_of(run.day) for run in read_runs(store)}
    return sorted(month for month in found if month < before)


def billed_until(chain: Iterable[ClosedMonth]) -> dict[dt.date, str]:
    """Digest of the part up to which closed months bill each day."""
    return {
        dt.date.fromisoformat(day): digest
        for closed in chain
        for day, digest in closed.billed_parts.items()
    }


def _refuse_before_first(month: str, chain: Sequence[ClosedMonth]) -> None:
    if chain and month < chain[0].month:
        raise BillingError(
            f"{month} is before {chain[0].month}, the first month that was closed: what it used "
            "is billed as late use in the next open month"
        )


def _late(store: ObjectStore, parts: DayParts, chain: Sequence[ClosedMonth]) -> _Late:
    billed = billed_until(chain)
    earlier = {
        day
        for folder in _REQUESTS
        for day in days_in(store, folder)
        if months.month_of(day) < chain[0].month
    }
    late = [_late_day(parts, day, billed.get(day)) for day in sorted(earlier | billed.keys())]
    return _Late(
        tuple(row for each in late for row in each.rows),
        tuple(orphan for each in late for orphan in each.orphans),
        tuple(found for each in late for found in each.attention),
        {day: digest for each in late for day, digest in each.parts.items()},
    )


def _late_day(parts: DayParts, day: dt.date, digest: str | None) -> _Late:
    if digest is None:
        part = parts.current(day)
        return _Late(part.usage, part.orphans, part.attention, {day.isoformat(): part.digest})
    part, rows = parts.late(day, digest)
    if part.digest == digest:
        return _Late()
    known = parts.frozen(day, digest)
    return _Late(
        rows,
        tuple(orphan for orphan in part.orphans if orphan not in known.orphans),
        tuple(found for found in part.attention if found not in known.attention),
        {day.isoformat(): part.digest},
    )


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
        if months.month_of(_day_of(file.key)) <= scope.month
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


def days_in(store: ObjectStore, folder: str) -> set[dt.date]:
    """Return the days of which a folder holds files. Raises BillingError for a file of no day."""
    return {_day_of(key) for key in store.list(folder)}


def _day_of(key: str) -> dt.date:
    folder = key.split("/")[1]
    try:
        return dt.date.fromisoformat(folder.removeprefix("day="))
    except ValueError as error:
        raise BillingError(
            f"{key}: {folder!r} is no day, such as day=2026-11-03: move the file to its day"
        ) from error
