"""What a look at the cluster adds to a day's report. No I/O.

A report only grows. The same uid is the same pod, which kept its GPUs whether anybody looked or
not; so a pod that is seen is reported from its scheduling to the look, and a reporter that was away
catches up. The API does not say when a pod that is gone ended: its time ends with the last look.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from serving.billing.pods import PodIntervals, ReportedPod
from serving.pod_reports.seen import UNKNOWN_GPU, SeenPod


@dataclass(frozen=True)
class Extended:
    """A report after a look."""

    report: PodIntervals
    vanished: tuple[ReportedPod, ...]
    """Pods that ran at the look before and are gone; each is named once."""


def extended(
    report: PodIntervals, day: dt.date, pods: Sequence[SeenPod], at: dt.datetime
) -> Extended:
    """Add a look to the report of a UTC day.

    Args:
        report: What is known of the day.
        day: The day; of each pod's time only what lies in it counts.
        pods: All pods that the API lists, with different uids and names.
        at: A time before the API was asked: every pod was still there then.
    """
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    end = begin + dt.timedelta(days=1)
    known = {one.uid: one for one in report.intervals}
    for pod in pods:
        started = max(begin, pod.scheduled)
        ended = min(end, at if pod.finished is None else pod.finished)
        before = known.get(pod.uid)
        if before is None:
            started = max(started, _free_from(pod.pod, report, begin))
        if started < ended:
            known[pod.uid] = _reported(before, pod, started, ended)
    seen = {pod.uid for pod in pods}
    running = {pod.uid for pod in pods if pod.finished is None and at < end}
    vanished = tuple(one for one in report.intervals if one.running and one.uid not in seen)
    intervals = (
        one.model_copy(update={"running": one.uid in running})
        for one in sorted(known.values(), key=lambda one: (one.pod, one.started))
    )
    return Extended(PodIntervals(intervals=tuple(intervals)), vanished)


def _free_from(name: str, report: PodIntervals, begin: dt.datetime) -> dt.datetime:
    # A name is free again when its pod is gone, but Kubernetes cuts times to the second: the next
    # pod may seem to have begun before that.
    return max((one.ended for one in report.intervals if one.pod == name), default=begin)


def _reported(
    before: ReportedPod | None, pod: SeenPod, started: dt.datetime, ended: dt.datetime
) -> ReportedPod:
    if before is None:
        return ReportedPod(
            uid=pod.uid,
            pod=pod.pod,
            pool=pod.pool,
            gpu_type=pod.node.gpu_type,
            gpus=pod.gpus,
            price_class=pod.node.price_class,
            started=started,
            ended=ended,
        )
    # Labels come a moment after the node, and go with it: what was known stays.
    is_new = before.gpu_type == UNKNOWN_GPU
    facts = vars(pod.node) if is_new else {}
    return before.model_copy(update={**facts, "ended": max(before.ended, ended)})
