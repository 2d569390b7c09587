"""A stand-in for the warehouse's days: rows in memory instead of Parquet and DuckDB.

It differs in that a row is one usage row, not events; that digests are over the rows' text; and
that nothing is ever unreadable unless a test says so. Late use is what was added since.
"""

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from serving.billing.days import LateDay
from serving.billing.usage import Attention, DayPart, Orphan
from tests.billing.builders import part

Row = Any


class StandInDays:
    """`serving.billing.days.DayParts` over lists of rows."""

    def __init__(self) -> None:
        self._rows: defaultdict[dt.date, list[Row]] = defaultdict(list)
        self._attention: defaultdict[dt.date, list[Attention]] = defaultdict(list)
        self._made: dict[str, DayPart] = {}

    def add(self, *rows: Row) -> None:
        """More arrives of the days of the rows."""
        for row in rows:
            self._rows[row.day].append(row)

    def add_orphan(self, lost: Orphan) -> None:
        """A request turns out to have no end."""
        self._rows[lost.admitted.date()].append(lost)

    def forget(self, day: dt.date) -> None:
        """The files of a day are lost."""
        self._rows[day].clear()

    def complain(self, day: dt.date, found: Attention) -> None:
        """Something is found wrong with a day."""
        self._attention[day].append(found)

    def repair(self, day: dt.date) -> None:
        """Nothing is wrong with a day any more."""
        self._attention[day].clear()

    def current(self, day: dt.date) -> DayPart:
        """The part of all rows so far."""
        rows, found = tuple(self._rows[day]), tuple(self._attention[day])
        text = repr((day, rows, found))
        digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self._made[digest] = part(day, *rows, digest=digest, attention=found)
        return self._made[digest]

    def frozen(self, day: dt.date, digest: str) -> DayPart:
        """A part that was made before."""
        made = self._made[digest]
        assert made.day == day
        return made

    def late(self, day: dt.date, billed: Sequence[str]) -> LateDay:
        """The newest part, and the rows added since the last of others was made."""
        newest = self.current(day)
        return LateDay(newest, newest.usage[len(self.frozen(day, billed[-1]).usage) :])
