"""What billing asks of a warehouse's days."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.billing.usage import DayPart, UsageRow


@dataclass(frozen=True)
class LateDay:
    """What the newest part of a day adds to those that closed months bill."""

    part: DayPart
    usage: tuple[UsageRow, ...] = ()
    """Of requests that none of them bills."""
    gone: int = 0
    """Requests that the last of them bills and the newest part does not have."""


class DayParts(Protocol):
    """The days of a warehouse."""

    def current(self, day: dt.date) -> DayPart:
        """The part of everything that has arrived of a day."""

    def frozen(self, day: dt.date, digest: str) -> DayPart:
        """A part as it was when a month was closed."""

    def late(self, day: dt.date, billed: Sequence[str]) -> LateDay:
        """What the newest part of a day adds to the parts of these digests, the last one last."""
