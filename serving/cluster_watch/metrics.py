"""Prometheus metrics of one cluster-watch."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class WatchMetrics:
    """What was seen, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.listed = Gauge(
            "cluster_watch_listed_timestamp_seconds",
            "When all objects of a kind were last listed.",
            ["kind"],
            registry=self._registry,
        )
        self.failures = Counter(
            "cluster_watch_failures",
            "Lists and watches that failed.",
            ["kind"],
            registry=self._registry,
        )
        self.domains = Gauge(
            "cluster_watch_domains", "Domains with a usable record.", registry=self._registry
        )
        self.refused = Gauge(
            "cluster_watch_refused_records",
            "ConfigMaps with the label of a tenancy record that hold none that can be used.",
            registry=self._registry,
        )
        self.servers = Gauge(
            "cluster_watch_servers",
            "Servers of a pool that are ready.",
            ["pool"],
            registry=self._registry,
        )

    def render(self) -> bytes:
        """The exposition text."""
        return bytes(generate_latest(self._registry))
