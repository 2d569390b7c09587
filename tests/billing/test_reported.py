"""Days that have files, and reports of pods that end too early."""

import datetime as dt

import pytest

from serving.billing.errors import BillingError
from serving.billing.reported import ReportedDays
from serving.billing.usage import DayPart
from tests.billing.builders import DAY, counts, gpu, part, usage

MIDNIGHT = dt.datetime(2026, 11, 4, tzinfo=dt.UTC)
EARLY = MIDNIGHT - dt.timedelta(seconds=1)
NEXT_DAY = DAY + dt.timedelta(days=1)
NOW = MIDNIGHT + dt.timedelta(days=9)
PODS = ReportedDays.of(["pods/day=2026-11-03/x.json", "writers/x.json", "parts/day=x/part.json"])


def short(*parts: DayPart, now: dt.datetime = NOW, reported: ReportedDays = PODS) -> list[str]:
    return [f"{each.kind} {each.where}" for each in reported.short(parts, now)]


SHORT = ["short-pod-report pods/day=2026-11-03/"]


@pytest.mark.parametrize(
    ("until", "named"), [(MIDNIGHT, []), (NOW, []), (EARLY, SHORT), (None, SHORT)]
)
def test_reports_of_a_day_with_requests_must_reach_its_end(
    until: dt.datetime | None, named: list[str]
) -> None:
    day = part(DAY, usage(counts()), pods_until=until)
    assert short(day) == named
    assert short(day, now=MIDNIGHT + dt.timedelta(minutes=59)) == []


def test_where_nobody_reports_pods_nothing_is_short() -> None:
    day = part(DAY, usage(counts()))
    assert short(day, reported=ReportedDays.of(["events/day=2026-11-03/x.parquet"])) == []
    assert short(day, reported=ReportedDays.of(["pods/day=2026-11-04/x.json"])) == []


@pytest.mark.parametrize(
    ("before", "named"),
    [
        (part(DAY, gpu(1), pods_until=MIDNIGHT), ["short-pod-report pods/day=2026-11-04/"]),
        (part(DAY, gpu(1), pods_until=EARLY), SHORT),
        (part(DAY, pods_until=MIDNIGHT), []),
        (part(DAY), []),
    ],
    ids=["held at midnight", "ended before", "without GPUs", "nothing"],
)
def test_a_day_without_files_is_short_when_pods_held_gpus_until_it_began(
    before: DayPart, named: list[str]
) -> None:
    assert short(before, part(NEXT_DAY)) == named


def test_a_file_under_no_day_is_refused() -> None:
    with pytest.raises(BillingError, match=r"pods/november/x\.json: 'november' is no day"):
        ReportedDays.of(["pods/november/x.json"])
