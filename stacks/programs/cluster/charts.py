"""Charts of the lock, as sources for components."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os.path import relpath

from components.charts import ChartSource
from stacks.charts_lock import LockedChart, archive_of, locked, read_lock, require_digests
from stacks.paths import ROOT


@dataclass(frozen=True)
class Charts:
    """What may be installed."""

    production: bool
    """Refuses charts without a digest."""

    @cached_property
    def _lock(self) -> Mapping[str, LockedChart]:
        return read_lock()

    def require(self, names: Iterable[str]) -> None:
        """Check that each may be installed here.

        Raises:
            ValueError: One is not in the lock, or has no digest in production.
        """
        for name in names:
            locked(name, self._lock)
        if self.production:
            require_digests(names, self._lock)

    def source(self, name: str) -> ChartSource:
        """Where a chart comes from: its checked archive, or its repository without a digest.

        Raises:
            ValueError: It is not in the lock, has no digest in production, or was not fetched.
        """
        self.require([name])
        chart = locked(name, self._lock)
        archive = archive_of(chart)
        return ChartSource(
            # Relative, so that every machine gives the engine the same value.
            chart=f"./{relpath(archive, ROOT)}" if archive else chart.chart,
            version=chart.version,
            repository=None if archive else chart.repository,
            kind=chart.kind,
        )
