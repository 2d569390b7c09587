"""Traces as OTLP protobuf. No I/O.

Spans are built as messages of the protocol, not by the SDK: what many requests have in common is
encoded once, and a span then costs the router a fraction of what the SDK's takes.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
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
    Attributes,
    AttributeValue,
    Content,
    InferenceTrace,
    Labels,
    own_attributes,
    shared_attributes,
)

_SCOPE: Final = "serving.tracing"
_KNOWN_LABELS: Final = 4096


class SpanEncoder:
    """Encodes for one receiver."""

    def __init__(self, environment: str, *, mlflow: bool) -> None:
        self._mlflow = mlflow
        self._resource = Resource(
            attributes=_pairs(
                {"service.name": "router", "deployment.environment.name": environment}
            )
        )

        @lru_cache(maxsize=_KNOWN_LABELS)
        def shared(labels: Labels) -> bytes:
            pairs = _pairs(shared_attributes(labels, environment, mlflow=mlflow))
            encoded: bytes = Span(name=SPAN_NAME, attributes=pairs).SerializeToString()
            return encoded

        self._shared = shared

    def span(self, trace: InferenceTrace, content: Content) -> bytes:
        """One span: a protobuf message in two parts is their fields, one after the other."""
        own = Span(
            # Both from the request id: a trace that is sent twice is the same trace.
            trace_id=bytes.fromhex(trace.request_id),
            span_id=bytes.fromhex(trace.request_id[16:]),
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=trace.started_ns,
            end_time_unix_nano=trace.ended_ns,
            attributes=_pairs(own_attributes(trace, content, mlflow=self._mlflow)),
            status=_status(trace),
        )
        return self._shared(trace.labels) + bytes(own.SerializeToString())

    def request(self, spans: Iterable[bytes]) -> bytes:
        """The body of one export request."""
        scope = ScopeSpans(scope=InstrumentationScope(name=_SCOPE))
        for span in spans:
            scope.spans.add().MergeFromString(span)
        resource = ResourceSpans(resource=self._resource, scope_spans=[scope])
        body: bytes = ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString()
        return body


def _status(trace: InferenceTrace) -> Status:
    if trace.failed:
        return Status(code=Status.STATUS_CODE_ERROR, message=trace.error or "")
    return Status(code=Status.STATUS_CODE_OK)


def _pairs(attributes: Attributes) -> list[KeyValue]:
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
