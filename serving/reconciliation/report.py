"""What a reconciliation found. No I/O."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from serving.reconciliation.differences import Difference


@dataclass(frozen=True)
class Comparison:
    """One source, or one customer's traces, against the ledger."""

    source: str
    """Name of the source, or `langfuse` or `mlflow`."""
    scope: str
    """Pools or customer that it is about."""
    began: dt.datetime
    ended: dt.datetime
    """What was compared: from sample to sample for counters."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Report:
    """All comparisons of an interval."""

    began: dt.datetime
    ended: dt.datetime
    comparisons: Sequence[Comparison]
    notes: Sequence[str]
    """What the differences do not say, such as servers that were down."""

    @property
    def explained(self) -> bool:
        """Whether nothing is unknown."""
        return not any(
            difference.unknown
            for comparison in self.comparisons
            for difference in comparison.differences
        )
