"""Which days the warehouse has files of, and what that says of clocks and reporters. No I/O."""

import datetime as dt
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from serving.billing.errors import BillingError
from serving.billing.parts import SOURCES
from serving.billing.usage import Attention, DayPart
from serving.warehouse.layout import PODS, day_folder

CLOCK_AHEAD: Final = dt.timedelta(days=1)
"""Files of a later day than this from now are named."""
PODS_REPORTED: Final = dt.timedelta(hours=1)
"""Time after a day's end in which its reports of pods are finished."""


@dataclass(frozen=True)
class ReportedDays:
    """Days that have files, by folder (`serving.billing.parts.SOURCES`)."""

    by_folder: Mapping[str, frozenset[dt.date]]

    @classmethod
    def of(cls, keys: Iterable[str]) -> Self:
        """Find them in the warehouse's keys.

        Raises:
            BillingError: A file is under no day.
        """
        found: dict[str, set[dt.date]] = {folder: set() for folder in SOURCES}
        for key in keys:
            folder = f"{key.partition('/')[0]}/"
            if folder in found:
                found[folder].add(day_of(key))
        return cls({folder: frozenset(days) for folder, days in found.items()})

    def all(self) -> frozenset[dt.date]:
        """Days of which anything was reported."""
        return frozenset().union(*self.by_folder.values())

    def ahead(self, now: dt.datetime) -> list[Attention]:
        """Name files of days that have not come."""
        latest = (now + CLOCK_AHEAD).date()
        return [
            Attention(
                "clock",
                day_folder(folder, day),
                "files of a day that has not come: they are billed when it has; correct the clock "
                "of their writer, and bill them by hand",
            )
            for folder, days in self.by_folder.items()
            for day in sorted(days)
            if day > latest
        ]

    def short(self, parts: Sequence[DayPart], now: dt.datetime) -> list[Attention]:
        """Name days that are over, with requests or GPUs, whose reports of pods end before.

        Days before the first report of all are left out. A day without files counts when pods held
        GPUs until it began.

        Args:
            parts: Parts of days, in their order.
            now: The time.
        """
        return [
            Attention(
                "short-pod-report",
                day_folder(PODS, part.day),
                f"the day's reports of pods end at {part.pods_until or 'no time'}: where a pod "
                "held GPUs after that, its GPU time is missing; see that the reporter runs",
            )
            for before, part in itertools.pairwise((None, *parts))
            if part is not None
            and any(day <= part.day for day in self.by_folder[PODS])
            and _midnight(part.day) + PODS_REPORTED <= now
            and not _reaches_midnight(part)
            and (part.usage or part.orphans or part.gpu or _holds_at_midnight(before))
        ]


def _holds_at_midnight(part: DayPart | None) -> bool:
    return part is not None and bool(part.gpu) and _reaches_midnight(part)


def _reaches_midnight(part: DayPart) -> bool:
    return part.pods_until is not None and part.pods_until >= _midnight(part.day)


def _midnight(day: dt.date) -> dt.datetime:
    """The end of a UTC day."""
    return dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=1)


def day_of(key: str) -> dt.date:
    """Return the day that a file is under. Raises BillingError for one of no day."""
    folder = key.split("/")[1]
    try:
        return dt.date.fromisoformat(folder.removeprefix("day="))
    except ValueError as error:
        raise BillingError(
            f"{key}: {folder!r} is no day, such as day=2026-11-03: move the file to its day"
        ) from error
