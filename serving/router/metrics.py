"""Prometheus metrics of one router."""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.tracing.trace import DropReason

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SYNC_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class RouterMetrics:
    """Counters and histograms, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "router_requests",
            "Requests that ended, refused ones included.",
            # Adapters are named by the registry, never by a client: releases bound their number.
            ["customer", "domain", "pool", "served_model", "status"],
            registry=self._registry,
        )
        self.tokens = Counter(
            "router_tokens",
            "Tokens that model servers reported; kinds as in the price table, so that they add up.",
            ["customer", "domain", "pool", "served_model", "kind"],
            registry=self._registry,
        )
        self.latency = Histogram(
            "router_request_seconds",
            "Admission to the end of the response.",
            ["pool", "served_model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.ttft = Histogram(
            "router_time_to_first_byte_seconds",
            "Admission to the first byte of the answer.",
            ["pool", "served_model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "router_in_flight", "Requests being served.", registry=self._registry
        )
        self.retries = Counter(
            "router_retries",
            "Requests sent again after a connection error.",
            ["pool"],
            registry=self._registry,
        )
        self.ledger_records = Counter(
            "router_ledger_records", "Records that are on the disk.", registry=self._registry
        )
        self.ledger_commit = Histogram(
            "router_ledger_commit_seconds",
            "One write and sync of the ledger.",
            buckets=_SYNC_SECONDS,
            registry=self._registry,
        )
        self.ledger_healthy = Gauge(
            "router_ledger_healthy",
            "1 when the last write of the ledger reached the disk, else 0.",
            registry=self._registry,
        )
        self.traces_dropped = Counter(
            "router_traces_dropped",
            "Traces that were lost, by reason.",
            ["reason"],
            registry=self._registry,
        )
        for reason in get_args(DropReason):
            # There from the start: the first loss would not show in a rate otherwise.
            self.traces_dropped.labels(reason)
        self.trace_contents_withheld = Counter(
            "router_trace_contents_withheld",
            "Traces that went without their content, because it could not be redacted.",
            registry=self._registry,
        )

    def committed(self, records: int, seconds: float) -> None:
        """Count one commit of the ledger."""
        self.ledger_records.inc(records)
        self.ledger_commit.observe(seconds)

    def dropped_traces(self, reason: DropReason, traces: int) -> None:
        """Count traces that were lost."""
        self.traces_dropped.labels(reason).inc(traces)

    def render(self) -> bytes:
        """The exposition text."""
        return bytes(generate_latest(self._registry))
