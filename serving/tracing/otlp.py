"""Traces as OTLP protobuf. No I/O.

Spans are built as messages of the protocol, not by the SDK, and put together as bytes: what many
requests have in common is encoded once, and a span costs the router a fraction of what the SDK's
takes. In protobuf's encoding the parts of a message may simply follow one another, and a message
inside another one is its field's tag, its length and its bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from serving.tracing.trace import (
    SPAN_NAME,
    AttributeValue,
    Content,
    InferenceTrace,
    common_attributes,
    own_attributes,
)

_SCOPE: Final = "serving.tracing"
_MOST_REMEMBERED: Final = 4096
# Numbers of the protocol's fields, in opentelemetry/proto/trace/v1/trace.proto and
# opentelemetry/proto/collector/trace/v1/trace_service.proto.
_RESOURCE_SPANS: Final = 1
_SCOPE_SPANS: Final = 2
_SPANS: Final = 2


class SpanEncoder:
    """Encodes for one receiver; of one thread."""

    def __init__(self, environment: str, *, mlflow: bool) -> None:
        self._environment = environment
        self._mlflow = mlflow
        service = {"service.name": "router", "deployment.environment.name": environment}
        resource = ResourceSpans(resource=Resource(attributes=_pairs(service)))
        scope = ScopeSpans(scope=InstrumentationScope(name=_SCOPE))
        self._resource: bytes = resource.SerializeToString()
        self._scope: bytes = scope.SerializeToString()
        self._remembered: dict[tuple[object, ...], bytes] = {}

    def span(self, trace: InferenceTrace, content: Content) -> bytes:
        """One span."""
        own: bytes = Span(
            # Both from the request id: a trace that is sent twice is the same trace.
            trace_id=bytes.fromhex(trace.request_id),
            span_id=bytes.fromhex(trace.request_id[16:]),
            start_time_unix_nano=trace.started_ns,
            end_time_unix_nano=trace.ended_ns,
            attributes=_pairs(own_attributes(trace, content, mlflow=self._mlflow)),
        ).SerializeToString()
        return self._common(trace, content) + own

    def request(self, spans: Iterable[bytes]) -> bytes:
        """The body of one export request."""
        scope = b"".join([self._scope, *(_field(_SPANS, span) for span in spans)])
        return _field(_RESOURCE_SPANS, self._resource + _field(_SCOPE_SPANS, scope))

    def _common(self, trace: InferenceTrace, content: Content) -> bytes:
        key = (
            trace.labels,
            trace.requested_model,
            trace.status,
            trace.error,
            trace.attempts,
            content.state,
        )
        known = self._remembered.get(key)
        if known is not None:
            return known
        if len(self._remembered) >= _MOST_REMEMBERED:
            # Clients choose the model's name: what they invent must not grow this without end.
            self._remembered.clear()
        attributes = common_attributes(trace, content.state, self._environment, mlflow=self._mlflow)
        encoded: bytes = Span(
            name=SPAN_NAME,
            kind=Span.SPAN_KIND_CLIENT,
            attributes=_pairs(attributes),
            status=_status(trace),
        ).SerializeToString()
        self._remembered[key] = encoded
        return encoded


def _field(number: int, message: bytes) -> bytes:
    """A message as a field of another: tag, length as a varint, bytes."""
    length = len(message)
    head = bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + message


def _status(trace: InferenceTrace) -> Status:
    if trace.failed:
        return Status(code=Status.STATUS_CODE_ERROR, message=trace.error or "")
    return Status(code=Status.STATUS_CODE_OK)


def _pairs(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=v) for v in value]))
