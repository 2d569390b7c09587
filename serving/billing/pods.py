"""Which pods held GPUs, and when, as the cluster reported it."""

import datetime as dt
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from registry.documents import Document, decode
from registry.errors import RegistryError
from registry.names import PoolName
from serving.billing.errors import BillingError
from serving.billing.usage import Attention, PodInterval, PriceClass


class ReportedPod(Document):
    """One interval; `gpus` is 0 for a pod that runs on CPUs."""

    pod: str = Field(min_length=1)
    """Name, as the ledger's events give it in `server`."""
    pool: PoolName
    gpu_type: str
    gpus: int = Field(ge=0, le=1024)
    price_class: PriceClass
    started: AwareDatetime
    ended: AwareDatetime
    """For a pod that still runs: the time of the report."""
    uid: str = ""
    """Of the pod, where the source knows it: a name may come back with another pod."""
    running: bool = False
    """Whether the pod still ran when its source last looked."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.ended < self.started:
            raise ValueError(f"pod {self.pod}: ended {self.ended} is before started {self.started}")
        return self

    def interval(self) -> PodInterval:
        """What billing works with."""
        return PodInterval(**self.model_dump(exclude={"uid", "running"}))


class PodIntervals(Document):
    """`pods/day=<day>/<source>.json`: what one source saw of a UTC day; it grows until the end."""

    intervals: tuple[ReportedPod, ...]


@dataclass(frozen=True)
class Slot:
    """GPUs of one kind and price in one pod; a pod's name may come back with others."""

    pod: str
    pool: str
    gpu_type: str
    price_class: PriceClass


@dataclass(frozen=True, order=True)
class Held:
    """GPUs held within a day, in whole milliseconds since it began."""

    started_ms: int
    ended_ms: int
    gpus: int


def read_report(data: bytes, key: str) -> tuple[PodInterval, ...] | Attention:
    """Read a report, or name what is wrong with it."""
    try:
        report = decode(data, PodIntervals, key)
    except RegistryError as error:
        return Attention(
            "unreadable-file", key, f"not a report of pods: {error}; its GPU time is missing"
        )
    return tuple(pod.interval() for pod in report.intervals)


def merged(intervals: Iterable[PodInterval]) -> list[PodInterval]:
    """Join what several reports say of the same pod, so that no time counts twice.

    Returns:
        Intervals of which no two of one pod overlap, by pod and start.

    Raises:
        BillingError: Two overlap and disagree on what the pod is.
    """
    whole: list[PodInterval] = []
    for found in sorted(intervals, key=lambda one: (one.pod, one.started, one.ended)):
        last = whole[-1] if whole else None
        if last is None or last.pod != found.pod or last.ended <= found.started:
            whole.append(found)
            continue
        if replace(found, started=last.started, ended=last.ended) != last:
            raise BillingError(
                f"pod {found.pod}: reports disagree on {found.started} to {found.ended}: "
                f"{_what(last)} or {_what(found)}; remove the wrong report"
            )
        whole[-1] = replace(last, ended=max(last.ended, found.ended))
    return whole


def held_on(day: dt.date, intervals: Iterable[PodInterval]) -> dict[Slot, tuple[Held, ...]]:
    """What lies within a UTC day of intervals that do not overlap, in the order of the slots."""
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    by_slot = sorted(
        (
            (Slot(one.pod, one.pool, one.gpu_type, one.price_class), held)
            for one in intervals
            if (held := _clipped(one, begin)) is not None
        ),
        key=lambda pair: (*vars(pair[0]).values(), pair[1]),
    )
    return {
        slot: tuple(held for _, held in group)
        for slot, group in itertools.groupby(by_slot, key=lambda pair: pair[0])
    }


def _clipped(interval: PodInterval, begin: dt.datetime) -> Held | None:
    day_ms = 86_400_000
    millisecond = dt.timedelta(milliseconds=1)
    started = max(0, (interval.started - begin) // millisecond)
    ended = min(day_ms, (interval.ended - begin) // millisecond)
    return Held(started, ended, interval.gpus) if started < ended else None


def _what(interval: PodInterval) -> str:
    return f"{interval.gpus} {interval.price_class} {interval.gpu_type} in pool {interval.pool}"
