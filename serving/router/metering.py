"""What is recorded of a request: intent, event, metrics and trace."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from registry.names import PoolName
from serving.ledger import Event, Intent, LedgerWriter
from serving.router.metrics import RouterMetrics
from serving.router.resolution import Serving
from serving.router.sse import Usage
from serving.router.tenancy import TenancyRecord
from serving.tracing.content import MAX_CAPTURED_BYTES
from serving.tracing.trace import InferenceTrace, Labels

CLIENT_CLOSED: Final = 499


class TraceSink(Protocol):
    """Takes finished traces; never waits and never fails."""

    def record(self, trace: InferenceTrace) -> None:
        """Queue a trace."""


@dataclass
class Exchange:
    """One admitted request, from admission to the end of its response."""

    request_id: str
    edge_request_id: str | None
    tenant: TenancyRecord
    target: Serving
    operation: str
    requested_model: str
    stream: bool
    prompt: bytes
    """The request body, for domains whose content is captured."""
    started: float = field(default_factory=time.monotonic)
    started_ns: int = field(default_factory=time.time_ns)
    attempts: int = 0
    server: str | None = None
    """Pod that the request goes to, where it is known."""
    first_byte: float | None = None
    status: int = 0
    error: str | None = None
    usage: Usage | None = None
    answer: bytearray = field(default_factory=bytearray)
    finished: "asyncio.Future[None] | None" = None

    def saw_bytes(self, data: bytes) -> None:
        """Note bytes of the answer that are about to go to the client."""
        if self.first_byte is None and data:
            self.first_byte = time.monotonic()
        if self.tenant.content_capture != "off" and len(self.answer) < MAX_CAPTURED_BYTES:
            self.answer += data[: MAX_CAPTURED_BYTES - len(self.answer)]


class Meter:
    """Writes down every admitted request exactly once."""

    def __init__(
        self,
        ledger: LedgerWriter,
        metrics: RouterMetrics,
        tracer: TraceSink | None,
        *,
        base_models: Mapping[PoolName, str],
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._tracer = tracer
        self._base_models = base_models

    def admit(self, exchange: Exchange) -> "asyncio.Future[None]":
        """Write the intent; nothing goes to the client before the future is done.

        The future fails with LedgerError when the intent cannot be made durable.
        """
        target = exchange.target
        return self._ledger.append(
            Intent(
                request_id=exchange.request_id,
                ts=_now(),
                domain=exchange.tenant.domain,
                customer=exchange.tenant.customer,
                version=target.release,
                served_model=target.served_model,
                pool=target.pool,
                stream=exchange.stream,
            )
        )

    def finish(self, exchange: Exchange) -> "asyncio.Future[None]":
        """Write the event; the last byte goes to the client after the future is done.

        Called again, it returns the same future: a request has one event.
        """
        if exchange.finished is not None:
            return exchange.finished
        ended = time.monotonic()
        exchange.finished = self._ledger.append(_event(exchange, ended))
        self._count(exchange, ended)
        if self._tracer is not None:
            base_model = self._base_models[exchange.target.pool]
            self._tracer.record(_trace(exchange, ended, base_model))
        return exchange.finished

    def _count(self, exchange: Exchange, ended: float) -> None:
        metrics, usage = self._metrics, exchange.usage
        served = (exchange.target.pool, exchange.target.served_model)
        labels = (exchange.tenant.customer, exchange.tenant.domain, *served)
        metrics.requests.labels(*labels, str(exchange.status)).inc()
        metrics.latency.labels(*served).observe(ended - exchange.started)
        if exchange.first_byte is not None:
            metrics.ttft.labels(*served).observe(exchange.first_byte - exchange.started)
        if usage is not None:
            for kind, tokens in _tokens_by_kind(usage).items():
                metrics.tokens.labels(*labels, kind).inc(tokens)


def _tokens_by_kind(usage: Usage) -> dict[str, int]:
    """Disjoint counts. A counter cannot fall: a count below zero is for the ledger to show."""
    total, output = max(usage.input_tokens, 0), max(usage.output_tokens, 0)
    cached = min(max(usage.cached_tokens or 0, 0), total)
    return {"input": total - cached, "cached_input": cached, "output": output}


def _event(exchange: Exchange, ended: float) -> Event:
    usage = exchange.usage
    first = exchange.first_byte
    target = exchange.target
    return Event(
        request_id=exchange.request_id,
        ts=_now(),
        domain=exchange.tenant.domain,
        customer=exchange.tenant.customer,
        version=target.release,
        served_model=target.served_model,
        pool=target.pool,
        stream=exchange.stream,
        status=exchange.status,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cached_tokens=None if usage is None else usage.cached_tokens,
        latency_ms=round((ended - exchange.started) * 1e3, 3),
        ttft_ms=None if first is None else round((first - exchange.started) * 1e3, 3),
        error=exchange.error,
        server=exchange.server,
        attempts=exchange.attempts,
    )


def _trace(exchange: Exchange, ended: float, base_model: str) -> InferenceTrace:
    usage = exchange.usage
    first = exchange.first_byte
    started_ns = exchange.started_ns
    return InferenceTrace(
        request_id=exchange.request_id,
        edge_request_id=exchange.edge_request_id,
        labels=_labels(exchange, base_model),
        requested_model=exchange.requested_model,
        started_ns=started_ns,
        first_byte_ns=(
            None if first is None else started_ns + int((first - exchange.started) * 1e9)
        ),
        ended_ns=started_ns + int((ended - exchange.started) * 1e9),
        status=exchange.status,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cached_tokens=None if usage is None else usage.cached_tokens,
        error=exchange.error,
        attempts=exchange.attempts,
        capture=exchange.tenant.content_capture,
        prompt=exchange.prompt,
        answer=bytes(exchange.answer),
    )


def _labels(exchange: Exchange, base_model: str) -> Labels:
    target = exchange.target
    return Labels(
        customer=exchange.tenant.customer,
        domain=exchange.tenant.domain,
        version=target.release,
        served_model=target.served_model,
        base_model=base_model,
        adapter=target.digest is not None,
        pool=target.pool,
        operation=exchange.operation,
        stream=exchange.stream,
        decision=exchange.tenant.routing.mode,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
