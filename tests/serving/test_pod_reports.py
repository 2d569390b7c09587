"""Reports of pods: what looks add up to, whenever they are taken, and what is read of nodes."""

import datetime as dt
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import documents
from registry.directory_store import DirectoryStore
from registry.errors import PreconditionFailedError, RegistryError
from serving.billing.pods import PodIntervals, held_on, merged
from serving.pod_reports.merge import extended
from serving.pod_reports.reporter import Reporter
from serving.pod_reports.seen import UNKNOWN_NODE, NodeFacts, SeenPod, node_facts

DAY = dt.date(2026, 11, 3)
MIDNIGHT = dt.datetime(2026, 11, 3, tzinfo=dt.UTC)
H100 = NodeFacts("NVIDIA-H100-80GB-HBM3", "spot")
NOTHING = PodIntervals(intervals=())


def at(seconds: float) -> dt.datetime:
    """A time of the day."""
    return MIDNIGHT + dt.timedelta(seconds=seconds)


def seen(uid: str = "u1", *, since: float = 0, until: float | None = None) -> SeenPod:
    return SeenPod(
        uid=uid,
        pod="slm-0",
        pool="slm",
        gpus=2,
        node=H100,
        scheduled=at(since),
        finished=None if until is None else at(until),
    )


def spans(report: PodIntervals) -> list[tuple[str, float, float]]:
    """Uid, start and end in seconds of the day."""
    return [
        (one.uid, *((when - MIDNIGHT).total_seconds() for when in (one.started, one.ended)))
        for one in report.intervals
    ]


@dataclass(frozen=True)
class Life:
    """One pod, in seconds since the first midnight."""

    uid: str
    name: str
    began: float
    ended: float
    is_listed_after: bool
    """Whether it stays listed as terminated until its name is used again."""


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    """Pods of two names over three days; those of one name come one after the other."""
    found = []
    for name in ("slm-0", "slm-1"):
        now = draw(st.floats(0, 100_000))
        for number in range(draw(st.integers(0, 4))):
            began = now + draw(st.floats(0.001, 3_000))
            now = began + draw(st.floats(0.001, 120_000))
            found.append(Life(f"{name}-{number}", name, began, now, draw(st.booleans())))
    return found


def listed(pods: Sequence[Life], now: float) -> Iterator[SeenPod]:
    """What the API shows at a time; its times are cut to the second."""
    for life in pods:
        follows = any(o.name == life.name and life.began < o.began <= now for o in pods)
        is_over = life.ended <= now
        if life.began <= now and not follows and (not is_over or life.is_listed_after):
            yield replace(
                seen(life.uid),
                pod=life.name,
                scheduled=at(life.began // 1),
                finished=at(life.ended // 1) if is_over else None,
            )


def milliseconds(reports: dict[dt.date, PodIntervals]) -> dict[tuple[str, dt.date], int]:
    """Time of each pod name and day, as billing reads it."""
    found = {}
    for day, report in reports.items():
        intervals = [one.interval() for one in report.intervals]
        for slot, held in held_on(day, merged(intervals)).items():
            found[slot.pod, day] = sum(span.ended_ms - span.started_ms for span in held)
    return found


@given(lives(), st.lists(st.floats(0, 260_000), min_size=1, max_size=12), st.randoms())
def test_time_is_never_counted_twice_and_never_shrinks(pods, moments, random) -> None:
    reports: dict[dt.date, PodIntervals] = {}
    since, before = 0.0, {}
    for now in sorted(moments):
        # A reporter that starts again looks back further.
        first = at(0 if random.random() < 0.3 else since).date()
        look = list(listed(pods, now))
        for day in (DAY + dt.timedelta(days=n) for n in range((first - DAY).days, 4)):
            if day <= at(now).date():
                reports[day] = extended(reports.get(day, NOTHING), day, look, at(now)).report
        since = now
        after = milliseconds(reports)
        assert all(after[key] >= ms for key, ms in before.items())
        before = after
        for pod in look:
            if pod.finished is None:
                kept = [o for r in reports.values() for o in r.intervals if o.uid == pod.uid]
                assert max(one.ended for one in kept) == at(now)
    everything = [one for report in reports.values() for one in report.intervals]
    for name in ("slm-0", "slm-1"):
        of_name = sorted((o.started, o.ended) for o in everything if o.pod == name)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(of_name))
        # At most what it was: the second that the API cut off, for each pod.
        true = sum(life.ended - life.began + 1 for life in pods if life.name == name)
        reported = sum((o.ended - o.started).total_seconds() for o in everything if o.pod == name)
        assert reported <= true


def test_a_pod_that_runs_is_reported_from_its_scheduling_over_gaps_and_midnight() -> None:
    first = extended(NOTHING, DAY, [seen(since=50_000)], at(60_000))
    assert spans(first.report) == [("u1", 50_000, 60_000)]
    assert first.report.intervals[0].running
    after = [seen(since=50_000)], at(100_000)
    today = extended(first.report, DAY, *after).report
    tomorrow = extended(NOTHING, DAY + dt.timedelta(days=1), *after).report
    assert spans(today) + spans(tomorrow) == [("u1", 50_000, 86_400), ("u1", 86_400, 100_000)]
    assert [one.running for one in (*today.intervals, *tomorrow.intervals)] == [False, True]


def test_a_pod_that_ended_is_reported_until_then() -> None:
    report = extended(NOTHING, DAY, [seen()], at(100)).report
    ended = extended(report, DAY, [seen(until=130)], at(160))
    assert spans(ended.report) == [("u1", 0, 130)]
    assert ended.vanished == ()
    assert extended(ended.report, DAY, [], at(190)) == replace(ended, vanished=())


def test_a_pod_that_is_gone_ends_when_it_was_last_seen_and_is_named_once() -> None:
    report = extended(NOTHING, DAY, [seen()], at(100)).report
    gone = extended(report, DAY, [seen("u2", since=130)], at(160))
    assert spans(gone.report) == [("u1", 0, 100), ("u2", 130, 160)]
    assert [one.uid for one in gone.vanished] == ["u1"]
    assert extended(gone.report, DAY, [seen("u2", since=130)], at(190)).vanished == ()


def test_the_next_pod_of_a_name_begins_when_the_one_before_was_gone() -> None:
    report = extended(NOTHING, DAY, [seen()], at(100.4)).report
    # Scheduled at 100.7, which the API says as 100.
    report = extended(report, DAY, [seen("u2", since=100)], at(130)).report
    assert spans(report) == [("u1", 0, 100.4), ("u2", 100.4, 130)]


def test_what_a_node_is_may_be_learned_later_and_is_not_forgotten() -> None:
    unknown = replace(seen(), node=UNKNOWN_NODE)
    report = extended(NOTHING, DAY, [unknown], at(10)).report
    assert [(one.gpu_type, one.gpus) for one in report.intervals] == [("unknown", 2)]
    for number, pod in enumerate([seen(), unknown]):
        report = extended(report, DAY, [pod], at(20 + number)).report
        (one,) = report.intervals
        assert (one.gpu_type, one.price_class) == (H100.gpu_type, "spot")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            {
                "nvidia.com/gpu.product": "NVIDIA-L4",
                "node.kubernetes.io/instance-type": "g6.xlarge",
                "karpenter.sh/capacity-type": "spot",
            },
            NodeFacts("NVIDIA-L4", "spot"),
        ),
        (
            {
                "node.kubernetes.io/instance-type": "p5.48xlarge",
                "karpenter.sh/capacity-type": "reserved",
            },
            NodeFacts("p5.48xlarge", "on-demand"),
        ),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, NodeFacts("unknown", "spot")),
        ({"eks.amazonaws.com/capacityType": "CAPACITY_BLOCK"}, UNKNOWN_NODE),
        ({}, UNKNOWN_NODE),
    ],
)
def test_a_nodes_labels_say_what_and_how_it_was_bought(labels, expected) -> None:
    assert node_facts(labels) == expected


class _Cluster:
    """A cluster that lists what the test says."""

    def __init__(self, *pods: SeenPod) -> None:
        self.listed = pods

    def pods(self) -> tuple[SeenPod, ...]:
        return self.listed


def _stored(store: DirectoryStore, day: str) -> list[tuple[str, float, float]]:
    return spans(documents.read(store, f"pods/day={day}/models.json", PodIntervals)[0])


def test_a_reporter_that_was_away_catches_up(tmp_path: Path, caplog) -> None:
    store = DirectoryStore(tmp_path)
    stays, goes = seen("stays", since=0), replace(seen("goes", since=0), pod="slm-1")
    Reporter(_Cluster(stays, goes), store, "models").look(at(80_000))
    again = Reporter(_Cluster(stays), store, "models")
    with caplog.at_level(logging.WARNING):
        again.look(at(180_000))
        again.look(at(180_030))
    assert _stored(store, "2026-11-03") == [("stays", 0, 86_400), ("goes", 0, 80_000)]
    assert _stored(store, "2026-11-04") == [("stays", 86_400, 172_800)]
    assert _stored(store, "2026-11-05") == [("stays", 172_800, 180_030)]
    (record,) = caplog.records
    assert "pod slm-1 (goes) is gone" in record.message
    assert "up to 200000 GPU-seconds" in record.message


def test_nothing_new_is_not_written_and_no_pod_makes_no_report(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    Reporter(_Cluster(), store, "models").look(at(10))
    assert store.list("") == []
    reporter = Reporter(_Cluster(seen(until=5)), store, "models")
    reporter.look(at(10))
    marks = store.marks("pods/")
    reporter.look(at(40))
    assert (len(marks), store.marks("pods/")) == (1, marks)


def test_another_writer_in_between_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    store = DirectoryStore(tmp_path)
    other = Reporter(_Cluster(replace(seen("other"), pod="slm-1")), store, "models")
    put, calls = store.put, []

    def slow_put(*arguments, **conditions):
        calls.append(arguments[0])
        if len(calls) == 1:
            other.look(at(50))
        return put(*arguments, **conditions)

    monkeypatch.setattr(store, "put", slow_put)
    Reporter(_Cluster(seen("mine")), store, "models").look(at(60))
    assert _stored(store, "2026-11-03") == [("mine", 0, 60), ("other", 0, 50)]

    def refuse(*_, **__):
        raise PreconditionFailedError("changed since it was read")

    monkeypatch.setattr(store, "put", refuse)
    with pytest.raises(PreconditionFailedError):
        Reporter(_Cluster(seen("mine")), store, "models").look(at(90))


def test_a_report_that_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    key = "pods/day=2026-11-03/models.json"
    store.put(key, b"{")
    with pytest.raises(RegistryError, match=key):
        Reporter(_Cluster(seen()), store, "models").look(at(10))
    assert store.get(key).data == b"{"
