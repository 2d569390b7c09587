"""Lists the objects of one kind, and then watches them."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes import watch

from serving.cluster_watch.config import ClusterWatchConfig
from serving.cluster_watch.metrics import WatchMetrics

_log = logging.getLogger(__name__)

ListCall = Callable[..., Any]
Objects = Mapping[str, Any]
"""Objects of the kind by name."""


class Follower:
    """Keeps what there is of one kind up to date.

    What fails is tried again; until then nothing changes: an API that is away removes nobody.
    """

    def __init__(
        self,
        kind: str,
        call: ListCall,
        selector: str,
        apply: Callable[[Objects], None],
        *,
        settings: ClusterWatchConfig,
        metrics: WatchMetrics,
    ) -> None:
        """Follow a kind.

        Args:
            kind: What logs and metrics call it.
            call: The client's list call.
            selector: Label selector.
            apply: Takes over all objects, each time that one changed.
            settings: Namespace and times.
            metrics: Where lists and failures are counted.
        """
        self._kind = kind
        self._call = call
        self._selector = selector
        self._apply = apply
        self._settings = settings
        self._metrics = metrics
        self._objects: dict[str, Any] = {}
        self.listed = False
        """Whether everything was listed and applied once."""

    def run(self) -> None:
        """List and watch for ever."""
        while True:
            try:
                self._watch(self._list())
            except Exception as error:  # whatever the API, the connection or the disk raises
                reason = " ".join(str(error).split())[:300]
                _log.error("%s stay as they are: %s: %s", self._kind, type(error).__name__, reason)
                self._metrics.failures.labels(self._kind).inc()
                time.sleep(self._settings.retry_s)

    def _list(self) -> str:
        """Take over all objects; gives the version of the list."""
        listed = self._call(
            self._settings.namespace,
            label_selector=self._selector,
            _request_timeout=self._settings.timeout_s,
        )
        self._objects = {each.metadata.name: each for each in listed.items}
        self._apply(self._objects)
        self._metrics.listed.labels(self._kind).set_to_current_time()
        if not self.listed:
            _log.info("%d %s listed", len(self._objects), self._kind)
        self.listed = True
        version: str = listed.metadata.resource_version
        return version

    def _watch(self, version: str) -> None:
        """Take over changes until the watch ends."""
        settings = self._settings
        events = watch.Watch().stream(
            self._call,
            settings.namespace,
            label_selector=self._selector,
            resource_version=version,
            timeout_seconds=settings.watch_s,
            _request_timeout=(settings.timeout_s, settings.watch_s + settings.timeout_s),
        )
        for event in events:
            self._take(event["type"], event["object"])

    def _take(self, kind: str, changed: Any) -> None:
        if kind in ("ADDED", "MODIFIED"):
            self._objects[changed.metadata.name] = changed
        elif kind == "DELETED":
            self._objects.pop(changed.metadata.name, None)
        else:
            return
        self._apply(self._objects)
