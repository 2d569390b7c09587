"""Prometheus metrics of one router."""

from functools import partial
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from registry.names import PoolName
from serving.tracing.trace import DropReason

WAITING_REQUESTS: Final = "router_waiting_requests"
"""What a pool that has no server is scaled up by; label `pool`."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SYNC_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
# Adapters are named by the registry, never by a client: releases bound their number.
_SERVED = ("pool", "served_model")
_OWNER = ("customer", "domain", *_SERVED)


class RouterMetrics:
    """Counters and histograms, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        seconds = partial(histogram, labelnames=_SERVED, buckets=_SECONDS)
        self.requests = counter(
            "router_requests", "Requests that ended, refused ones included.", [*_OWNER, "status"]
        )
        self.tokens = counter(
            "router_tokens",
            "Tokens that model servers reported; kinds as in the price table, so that they add up.",
            [*_OWNER, "kind"],
        )
        self.latency = seconds("router_request_seconds", "Admission to the end of the response.")
        self.ttft = seconds(
            "router_time_to_first_byte_seconds", "Admission to the first byte of the answer."
        )
        self.in_flight = gauge("router_in_flight", "Requests being served.")
        self.waiting = gauge(
            WAITING_REQUESTS, "Requests that wait for a server that holds their release.", ["pool"]
        )
        self.retries = counter(
            "router_retries",
            "Requests sent again: the connection broke, or the server had forgotten the release.",
            ["pool"],
        )
        self.breakers_opened = counter(
            "router_breakers_opened",
            "Times that a server, or a model on it, failed so often that it was left alone.",
            ["pool"],
        )
        self.ledger_records = counter("router_ledger_records", "Records that are on the disk.")
        self.ledger_commit = histogram(
            "router_ledger_commit_seconds",
            "One write and sync of the ledger.",
            buckets=_SYNC_SECONDS,
        )
        self.ledger_healthy = gauge(
            "router_ledger_healthy", "1 when the last write of the ledger reached the disk, else 0."
        )
        self.traces_dropped = counter(
            "router_traces_dropped", "Traces that were lost, by reason.", ["reason"]
        )
        for reason in get_args(DropReason):
            # There from the start: the first loss would not show in a rate otherwise.
            self.traces_dropped.labels(reason)
        self.trace_contents_withheld = counter(
            "router_trace_contents_withheld",
            "Traces that went without their content, because it could not be redacted.",
        )

    def waits(self, pool: PoolName, requests: int) -> None:
        """Show how many requests wait for a pool."""
        self.waiting.labels(pool).set(requests)

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
