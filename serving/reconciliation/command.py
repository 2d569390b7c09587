"""What `pipeline reconcile` and `python -m serving.reconciliation` do."""

import datetime as dt
from enum import StrEnum
from typing import Final

from rich.console import Console

from serving.reconciliation.config import ReconciliationConfig
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.reconcile import reconcile
from serving.reconciliation.render import render_json, render_table

EXPLAINED: Final = 0
NOT_COMPARED: Final = 2
UNKNOWN: Final = 4


class ReportFormat(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"


def print_reconciliation(
    config: ReconciliationConfig,
    began: str | None,
    ended: str | None,
    form: ReportFormat,
    console: Console,
) -> int:
    """Compare an interval and print the report.

    Args:
        config: What is compared with what.
        began: Begin in ISO 8601; None together with `ended`: the UTC day before this one.
        ended: End.
        form: How to write the report.
        console: Where to.

    Returns:
        `EXPLAINED`, or `UNKNOWN` when some difference has no cause.

    Raises:
        ReconciliationError: Nothing can be compared.
    """
    now = dt.datetime.now(dt.UTC)
    first, last = interval(began, ended, now)
    report = reconcile(config, first, last, now=now)
    if form is ReportFormat.TABLE:
        console.print(render_table(report))
    else:
        console.file.write(render_json(report))
    return EXPLAINED if report.explained else UNKNOWN


def interval(
    began: str | None, ended: str | None, now: dt.datetime
) -> tuple[dt.datetime, dt.datetime]:
    """Read the two ends of an interval.

    Raises:
        ReconciliationError: Only one is given, or one is no time with its offset from UTC.
    """
    if began is None and ended is None:
        today = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - dt.timedelta(days=1), today
    if began is None or ended is None:
        raise ReconciliationError(
            "--from and --to: give both, or none for the UTC day before this one"
        )
    return _moment("--from", began), _moment("--to", ended)


def _moment(option: str, text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ReconciliationError(
            f"{option} {text!r} is no time with its offset from UTC: write 2026-11-25T10:00:00Z"
        )
    return moment.astimezone(dt.UTC)
