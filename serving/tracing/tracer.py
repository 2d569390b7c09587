"""Turns finished requests into spans and sends them, in a thread of its own."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from serving.tracing.backlog import Backlog
from serving.tracing.config import MlflowTarget, TracingConfig
from serving.tracing.content import as_json, hashed, input_messages, output_messages
from serving.tracing.otlp import SpanEncoder
from serving.tracing.redactor import RedactionError, RedactorProcess
from serving.tracing.sender import Sender
from serving.tracing.trace import NO_CONTENT, Content, DropReason, InferenceTrace

_log = logging.getLogger(__name__)

_BATCH: Final = 512
_BATCH_BYTES: Final = 3 * 1024 * 1024
"""Larger requests are what receivers and proxies in front of them refuse."""
_LINGER_S: Final = 0.5
"""How long a trace may wait for others, so that a busy router sends few requests."""
_CLOSE_TIMEOUT_S: Final = 3.0
_YIELD_EVERY: Final = 16


class Tracer:
    """A bounded backlog in front of one receiver.

    `record` never waits and never fails. Every trace is sent, or counted as dropped with its
    reason: the backlog was full, the receiver refused it, was not there for too long, or had not
    taken it when the router closed.
    """

    def __init__(
        self,
        config: TracingConfig,
        *,
        on_dropped: Callable[[DropReason, int], None],
        on_withheld: Callable[[], None],
    ) -> None:
        """Start the thread.

        Args:
            config: Where traces go.
            on_dropped: Called with a reason and a number of traces.
            on_withheld: Called for each trace that goes without its content, because redaction
                failed.

        Raises:
            SettingsError: A secret that the configuration names is not there.
        """
        self._on_dropped = on_dropped
        self._on_withheld = on_withheld
        self._closing = threading.Event()
        self._sender = Sender(config, self._closing)
        self._hash_key = (
            secrets.token_bytes(32) if config.hash_key is None else config.hash_key.read().encode()
        )
        self._backlog = Backlog(traces=config.queue, content_bytes=config.queue_content_bytes)
        self._encoder = SpanEncoder(
            config.environment, mlflow=isinstance(config.target, MlflowTarget)
        )
        self._redactor = RedactorProcess()
        self._lock = threading.Lock()
        self._in_hand = 0
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="tracer", daemon=True)
        self._thread.start()

    def record(self, trace: InferenceTrace) -> None:
        """Queue a trace, or count it as dropped."""
        if self._closing.is_set():
            self._on_dropped("closing", 1)
        elif not self._backlog.put(trace):
            self._on_dropped("queue_full", 1)

    def close(self) -> None:
        """Send what is queued, for a few seconds at most; the rest is counted as dropped."""
        self._closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)
        with self._lock:
            self._abandoned = True
            lost = self._in_hand + len(self._backlog.take(len(self._backlog)))
        self._redactor.close()
        if lost:
            _log.warning("%d traces were not sent before the end", lost)
            self._on_dropped("closing", lost)

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_LINGER_S)
            while self._send_a_batch():
                pass

    def _send_a_batch(self) -> bool:
        """Send what waits, up to one batch; true when another one should follow at once."""
        with self._lock:
            if self._abandoned:
                return False
            batch = self._backlog.take(_BATCH)
            self._in_hand = len(batch)
        for spans in _requests(self._spans(batch)):
            if not self._deliver(spans):
                return False
        return len(batch) == _BATCH or (bool(batch) and self._closing.is_set())

    def _deliver(self, spans: list[bytes]) -> bool:
        """False when the router is closing and nobody is there: `close` counts what is left."""
        try:
            delivery = self._sender.send(self._encoder.request(spans))
        except Exception as error:
            # Whatever it is, the next batch gets its try.
            _log.warning("traces not sent: %s", type(error).__name__)
            self._settle("internal_error", len(spans))
            return True
        if delivery.outcome == "sent":
            rejected = min(delivery.rejected, len(spans))
            self._settle(None, len(spans) - rejected)
            self._settle("refused", rejected)
        elif delivery.outcome == "unreachable" and self._closing.is_set():
            return False
        else:
            self._settle(delivery.outcome, len(spans))
        return True

    def _spans(self, batch: list[InferenceTrace]) -> Iterator[bytes]:
        for number, trace in enumerate(batch):
            if self._abandoned:
                return
            try:
                span = self._encoder.span(trace, self._content(trace))
            except Exception as error:
                # A fault of this package costs this trace alone. Its message could quote content.
                _log.warning("trace %s: %s", trace.request_id, type(error).__name__)
                self._settle("internal_error", 1)
                continue
            yield span
            if number % _YIELD_EVERY == 0:
                # Requests run in between, not only after the interpreter's time slice of 5 ms.
                time.sleep(0)

    def _content(self, trace: InferenceTrace) -> Content:
        """What the domain's policy lets the trace show."""
        if trace.capture == "off":
            return NO_CONTENT
        if trace.capture == "hashed":
            asked = as_json(input_messages(trace.prompt))
            answered = as_json(output_messages(trace.answer, stream=trace.labels.stream))
            return Content(
                "hashed",
                input_hash=hashed(asked, self._hash_key),
                output_hash=hashed(answered, self._hash_key),
            )
        try:
            shown = self._redactor.redacted((trace.prompt, trace.answer, trace.labels.stream))
        except RedactionError as error:
            _log.warning("trace %s goes without its content: %s", trace.request_id, error)
            self._on_withheld()
            return Content("withheld")
        return Content("redacted", input_messages=shown[0], output_messages=shown[1])

    def _settle(self, reason: DropReason | None, traces: int) -> None:
        """Say what became of traces in hand, unless `close` has counted them already."""
        with self._lock:
            if self._abandoned:
                return
            self._in_hand -= traces
        if reason is not None and traces:
            self._on_dropped(reason, traces)


def _requests(spans: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Spans in groups of a bounded size; one that is larger alone goes alone."""
    group: list[bytes] = []
    size = 0
    for span in spans:
        if group and size + len(span) > _BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(span)
        size += len(span)
    if group:
        yield group
