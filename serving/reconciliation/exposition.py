"""Reading the Prometheus text format."""

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


class ExpositionError(Exception):
    """A text that lacks what is read from it; says what, and whose text it probably is."""


@dataclass(frozen=True)
class Counters:
    """What one server says of itself."""

    started: dt.datetime | None
    """Start of its process; None where it does not say."""
    counters: dict[str, int]


class Exposition:
    """The metrics of one text."""

    def __init__(self, text: str) -> None:
        """Parse a text.

        Raises:
            ExpositionError: It is none.
        """
        try:
            self._families = {each.name: each for each in text_string_to_metric_families(text)}
        except (ValueError, KeyError, IndexError) as error:
            raise ExpositionError(f"not the Prometheus text format: {error}") from error

    def has(self, family: str) -> bool:
        """Whether a metric is known, with values or without. Counters: without `_total`."""
        return family in self._families

    def total(
        self, family: str, series: str, where: Callable[[dict[str, str]], bool] = lambda _: True
    ) -> int:
        """Sum of the values of a series whose labels are wanted; 0 where there is none.

        Raises:
            ExpositionError: A value is not a number.
        """
        metric: Any = self._families.get(family)
        values = [
            sample.value
            for sample in (metric.samples if metric else ())
            if sample.name == series and where(sample.labels)
        ]
        total = math.fsum(values)
        if not math.isfinite(total):
            raise ExpositionError(f"{series} is {total}, not a number")
        return round(total)

    def counter(self, family: str, where: Callable[[dict[str, str]], bool] = lambda _: True) -> int:
        """Sum of a counter's values; its name is given without `_total`."""
        return self.total(family, f"{family}_total", where)

    def moment(self, gauge: str) -> dt.datetime | None:
        """A gauge that holds seconds since the epoch; None where there is none."""
        metric: Any = self._families.get(gauge)
        if metric is None or not metric.samples:
            return None
        try:
            return dt.datetime.fromtimestamp(metric.samples[0].value, dt.UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise ExpositionError(f"{gauge} is no time: {error}") from error
