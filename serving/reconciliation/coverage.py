"""What a source counted between two samples, and where it is not certain. No I/O.

Counters are lost when a process ends. So the increments of a server are summed over its
*incarnations* (processes, told apart by their start), each from its first to its last reading; a
process that started within the interval counts from zero. What remains are windows of time in which
a request may or may not be in these sums:

    in_flight    the interval's first and last sample: a counter is read at some moment of it
    pod_restart  from the last reading of a process until the next one starts, or until the end
    not_sampled  from the interval's begin until the first reading of a process that ran already

Every window is wider by a margin on both sides, for clocks of different machines and because a
server counts a request a moment after it has answered it.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

WindowCause = Literal["in_flight", "pod_restart", "not_sampled"]


@dataclass(frozen=True)
class Reading:
    """The counters of one server at one sample."""

    server: str
    at: dt.datetime
    """When the sample began."""
    ended: dt.datetime
    """When this server had answered."""
    started: dt.datetime | None
    """Start of its process; None where it does not say."""
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Window:
    """Time in which requests on a server may or may not have been counted."""

    cause: WindowCause
    server: str
    began: dt.datetime
    ended: dt.datetime


@dataclass(frozen=True)
class Coverage:
    """What the servers of a source counted in an interval."""

    began: dt.datetime
    """First sample; the interval is `(began, ended]`."""
    ended: dt.datetime
    increments: Mapping[str, int]
    windows: tuple[Window, ...]
    servers: frozenset[str]

    def increment(self, counter: str) -> int:
        """By how much a counter grew; 0 for one that nobody has."""
        return self.increments.get(counter, 0)


def cover(readings: Iterable[Reading], margin: dt.timedelta) -> Coverage | None:
    """Sum up the readings of an interval; None when they are not of two samples.

    Args:
        readings: Of servers that answered, in any order.
        margin: By how much windows are wider, on each side.
    """
    by_server: dict[str, list[Reading]] = {}
    for reading in sorted(readings, key=lambda each: each.at):
        by_server.setdefault(reading.server, []).append(reading)
    moments = {reading.at for found in by_server.values() for reading in found}
    if len(moments) < 2:
        return None
    began, ended = min(moments), max(moments)
    increments: dict[str, int] = {}
    windows: list[Window] = []
    for found in by_server.values():
        server = _Server(_incarnations(found), began, ended, margin)
        windows += server.windows()
        for name, value in server.increments():
            increments[name] = increments.get(name, 0) + value
    return Coverage(began, ended, increments, tuple(windows), frozenset(by_server))


def _incarnations(readings: Sequence[Reading]) -> list[list[Reading]]:
    """Readings of one server, by process."""
    groups = [[readings[0]]]
    for before, after in pairwise(readings):
        if _same_process(before, after):
            groups[-1].append(after)
        else:
            groups.append([after])
    return groups


def _same_process(before: Reading, after: Reading) -> bool:
    if before.started is not None or after.started is not None:
        return before.started == after.started
    return all(after.counters.get(name, 0) >= value for name, value in before.counters.items())


@dataclass(frozen=True)
class _Server:
    """One server's processes in an interval."""

    incarnations: list[list[Reading]]
    began: dt.datetime
    ended: dt.datetime
    margin: dt.timedelta

    def increments(self) -> Iterator[tuple[str, int]]:
        """Growth of every counter of every process."""
        for number, readings in enumerate(self.incarnations):
            first, last = readings[0].counters, readings[-1].counters
            base: Mapping[str, int] = {} if self._from_zero(number) else first
            for name, value in last.items():
                yield name, value - base.get(name, 0)

    def windows(self) -> Iterator[Window]:
        """Where it is not certain what was counted."""
        first = self.incarnations[0][0]
        if not self._from_zero(0):
            cause: WindowCause = "in_flight" if first.at == self.began else "not_sampled"
            yield self._window(cause, self.began, first.ended)
        for readings, after in pairwise(self.incarnations):
            until = after[0].started or after[0].ended
            yield self._window("pod_restart", readings[-1].at, until)
        last = self.incarnations[-1][-1]
        if last.at == self.ended:
            yield self._window("in_flight", last.at, last.ended)
        else:
            yield self._window("pod_restart", last.at, self.ended)

    def _from_zero(self, number: int) -> bool:
        """Whether a process started within the interval."""
        if number > 0:
            return True
        first = self.incarnations[0][0]
        return first.started is not None and first.started > self.began

    def _window(self, cause: WindowCause, began: dt.datetime, ended: dt.datetime) -> Window:
        name = self.incarnations[0][0].server
        return Window(cause, name, began - self.margin, ended + self.margin)
