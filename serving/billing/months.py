"""Months, written `YYYY-MM`, and their days, in UTC. No I/O."""

import datetime as dt
import re
from typing import Final

from serving.billing.errors import BillingError

_MONTH: Final = re.compile(r"([12][0-9]{3})-(0[1-9]|1[0-2])")


def first_day(month: str) -> dt.date:
    """Return the first day of a month.

    Raises:
        BillingError: The text is not `YYYY-MM`.
    """
    match = _MONTH.fullmatch(month)
    if match is None:
        raise BillingError(f"month {month!r}: write it as YYYY-MM, such as 2026-11")
    return dt.date(int(match[1]), int(match[2]), 1)


def month_of(day: dt.date) -> str:
    """Return the month of a day."""
    return day.isoformat()[:7]


def following(month: str) -> str:
    """Return the month after one. Raises BillingError as `first_day`."""
    return month_of(_next_first_day(month))


def days(month: str) -> list[dt.date]:
    """Return the days of a month in order. Raises BillingError as `first_day`."""
    first = first_day(month)
    count = (_next_first_day(month) - first).days
    return [first + dt.timedelta(days=offset) for offset in range(count)]


def bounds(month: str) -> tuple[dt.datetime, dt.datetime]:
    """Return the first instants of a month and of the next one. Raises as `first_day`."""
    start, end = (
        dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        for day in (first_day(month), _next_first_day(month))
    )
    return start, end


def _next_first_day(month: str) -> dt.date:
    return (first_day(month) + dt.timedelta(days=31)).replace(day=1)
