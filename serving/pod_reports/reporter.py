"""Looks at the cluster and keeps the reports in the warehouse."""

import contextlib
import datetime as dt
import logging
from typing import Final, Protocol

from registry import documents
from registry.errors import NotFoundError, PreconditionFailedError
from registry.store import ObjectStore
from serving.billing.pods import PodIntervals, ReportedPod
from serving.pod_reports.merge import extended
from serving.pod_reports.seen import SeenPod
from serving.warehouse.layout import PODS, day_folder

_log: Final = logging.getLogger(__name__)
_ATTEMPTS: Final = 3
CATCH_UP: Final = dt.timedelta(days=31)
"""How far back the first look goes: what is older belongs to months that are closed, or due."""


class Looks(Protocol):
    """What the reporter asks of the cluster."""

    def pods(self) -> tuple[SeenPod, ...]:
        """All model pods that are listed."""


class Reporter:
    """Extends the reports of one source."""

    def __init__(self, cluster: Looks, store: ObjectStore, source: str) -> None:
        self._cluster = cluster
        self._store = store
        self._source = source
        self._looked: dt.datetime | None = None

    def look(self, at: dt.datetime) -> None:
        """Look once, and write down what the days since the last look have more.

        Args:
            at: Now.

        Raises:
            RegistryError: A report cannot be read, or somebody else writes it all the time.
            Exception: Whatever the API or the store raises. Looking again later loses nothing of a
                pod that still runs.
        """
        pods = self._cluster.pods()
        day = (self._looked or at - CATCH_UP).date()
        while day <= at.date():
            for gone in self._extend(day, pods, at):
                _log_vanished(gone, at)
            day += dt.timedelta(days=1)
        self._looked = at

    def _extend(
        self, day: dt.date, pods: tuple[SeenPod, ...], at: dt.datetime
    ) -> tuple[ReportedPod, ...]:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(PreconditionFailedError):
                return self._attempt(day, pods, at)
        return self._attempt(day, pods, at)

    def _attempt(
        self, day: dt.date, pods: tuple[SeenPod, ...], at: dt.datetime
    ) -> tuple[ReportedPod, ...]:
        key = f"{day_folder(PODS, day)}{self._source}.json"
        report, etag = self._read(key)
        found = extended(report, day, pods, at)
        # The same content again would be another input of the day's part.
        if found.report != report:
            data = documents.encode(found.report)
            self._store.put(key, data, if_match=etag, if_none_match=etag is None)
        return found.vanished

    def _read(self, key: str) -> tuple[PodIntervals, str | None]:
        try:
            return documents.read(self._store, key, PodIntervals)
        except NotFoundError:
            return PodIntervals(intervals=()), None


def _log_vanished(gone: ReportedPod, at: dt.datetime) -> None:
    unknown = max(at - gone.ended, dt.timedelta())
    _log.warning(
        "pod %s (%s) is gone: its time ends at %s, when it was last seen; up to %.0f GPU-seconds "
        "until now are not reported",
        gone.pod,
        gone.uid,
        gone.ended.isoformat(),
        gone.gpus * unknown.total_seconds(),
    )
