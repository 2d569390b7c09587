"""Sends traces over OTLP/HTTP from a thread of its own."""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from serving.tracing.config import TracingConfig
from serving.tracing.mlflow_experiment import experiment_id
from serving.tracing.trace import SPAN_NAME, InferenceTrace, attributes

_log = logging.getLogger(__name__)

_BATCH: Final = 128
_LINGER_S: Final = 0.5
_RETRY_S: Final = 5.0
_EXPORT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 3.0


class Tracer:
    """A bounded queue in front of an OTLP exporter.

    `record` never waits. A full queue, and a batch that the receiver does not take within the
    exporter's own attempts, are dropped and counted.
    """

    def __init__(self, config: TracingConfig, *, on_dropped: Callable[[int], None]) -> None:
        self._config = config
        self._on_dropped = on_dropped
        self._queue: queue.Queue[InferenceTrace] = queue.Queue(config.queue)
        self._resource = Resource({"service.name": "router"})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracer", daemon=True)
        self._thread.start()

    def record(self, trace: InferenceTrace) -> None:
        """Queue a trace, or count it as dropped."""
        try:
            self._queue.put_nowait(trace)
        except queue.Full:
            self._on_dropped(1)

    def close(self) -> None:
        """Send what is queued, for a few seconds at most."""
        self._closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        exporter: OTLPSpanExporter | None = None
        while not (self._closing.is_set() and self._queue.empty()):
            if exporter is None:
                exporter = self._connect()
                if exporter is None:
                    if self._closing.wait(_RETRY_S):
                        return
                    continue
            batch = self._take()
            if batch and not self._export(exporter, batch):
                # The receiver may have lost the experiment: look it up again.
                exporter = None

    def _connect(self) -> OTLPSpanExporter | None:
        config = self._config
        headers = {}
        if config.mlflow_url is not None:
            try:
                headers["x-mlflow-experiment-id"] = experiment_id(
                    config.mlflow_url, config.experiment
                )
            except requests.RequestException as error:
                _log.warning("traces wait for MLflow: %s", error)
                return None
        return OTLPSpanExporter(
            endpoint=config.otlp_endpoint, headers=headers, timeout=_EXPORT_TIMEOUT_S
        )

    def _take(self) -> list[InferenceTrace]:
        """Up to one batch; waits a little for more, so that a busy router sends few requests."""
        batch: list[InferenceTrace] = []
        until = time.monotonic() + _LINGER_S
        while len(batch) < _BATCH:
            left = until - time.monotonic()
            if left <= 0 or (self._closing.is_set() and self._queue.empty()):
                break
            try:
                batch.append(self._queue.get(timeout=left))
            except queue.Empty:
                break
        return batch

    def _export(self, exporter: OTLPSpanExporter, batch: list[InferenceTrace]) -> bool:
        spans = [self._span(trace) for trace in batch]
        if exporter.export(spans) is SpanExportResult.SUCCESS:
            return True
        _log.warning("%d traces were not taken by %s", len(batch), self._config.otlp_endpoint)
        self._on_dropped(len(batch))
        return False

    def _span(self, trace: InferenceTrace) -> ReadableSpan:
        failed = trace.status >= 400
        return ReadableSpan(
            name=SPAN_NAME,
            # The request id is the trace id, so that a ledger line leads to its trace.
            context=SpanContext(
                trace_id=int(trace.request_id, 16),
                span_id=secrets.randbits(63) + 1,
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            ),
            resource=self._resource,
            attributes=attributes(trace, self._config.environment),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, trace.error) if failed else Status(StatusCode.OK),
            start_time=trace.started_ns,
            end_time=trace.ended_ns,
        )
