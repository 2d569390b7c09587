"""Requests that reach model servers beside those of customers. No I/O.

The servers' counters hold them too, and the ledger does not: they are in no bill.

    probe       adapter-sync asks an adapter and the base model after each loading, and counts it
    evaluation  jobs of the gate note what they asked, with begin and end
"""

import datetime as dt
from collections.abc import Iterable, Sequence

from registry.traffic import Traffic
from serving.reconciliation.amounts import NOTHING, Amounts
from serving.reconciliation.coverage import Coverage, Reading, cover
from serving.reconciliation.differences import Bound


def probes(readings: Sequence[Reading], counted: Coverage, *, model_len: int) -> Bound:
    """Share of the probes in what servers counted.

    Exact, but for a probe that was in progress at the first or last sample, or failed. A restart of
    adapter-sync hides the probes after its last sample.

    Args:
        readings: Of the adapter-syncs of these servers, from the samples of the interval.
        counted: What the servers counted.
        model_len: Most tokens of a prompt and its answer.
    """
    own = [each for each in readings if counted.began <= each.at <= counted.ended]
    covered = cover(own, dt.timedelta())
    if covered is None:
        return Bound("probe", NOTHING, NOTHING)
    known = Amounts(
        covered.increment("requests"),
        covered.increment("prompt_tokens"),
        covered.increment("generation_tokens"),
    )
    before = _in_progress(each for each in own if each.at == covered.began)
    after = _in_progress(each for each in own if each.at == covered.ended)
    failed = covered.increment("failed")
    return Bound(
        "probe",
        known - _work(before, model_len),
        known + _work(after + failed, model_len),
    )


def evaluations(traffic: Iterable[Traffic], counted: Coverage, *, model_len: int) -> list[Bound]:
    """Shares of evaluation jobs: exact for a job that ran wholly within the interval."""
    found = []
    for job in traffic:
        ended = job.ended or counted.ended
        if job.began > counted.ended or ended < counted.began:
            continue
        answered = Amounts(job.answered, job.prompt_tokens, job.generation_tokens)
        most = answered + _work(job.unanswered, model_len)
        least = answered if _certain(job, counted) else NOTHING
        found.append(Bound("evaluation", least, most))
    return found


def _certain(job: Traffic, counted: Coverage) -> bool:
    """Whether everything that a job got answered was counted within the interval."""
    if job.ended is None or job.began < counted.began or job.ended > counted.ended:
        return False
    ended = job.ended
    return not any(job.began <= each.ended and ended >= each.began for each in counted.windows)


def _in_progress(readings: Iterable[Reading]) -> int:
    return sum(reading.counters.get("in_progress", 0) for reading in readings)


def _work(requests: int, model_len: int) -> Amounts:
    return Amounts(requests, requests * model_len, requests * model_len)
