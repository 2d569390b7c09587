"""What a trace says, and to whom: attributes and their encoding."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stand_in_receiver import values
from traces import LABELS, trace

from serving.tracing.otlp import SpanEncoder
from serving.tracing.trace import (
    NO_CONTENT,
    Attributes,
    Content,
    InferenceTrace,
    common_attributes,
    customer_tag,
    label,
    own_attributes,
)


def attributes(
    of: InferenceTrace, content: Content = NO_CONTENT, *, mlflow: bool = False
) -> Attributes:
    common = common_attributes(of, content.state, "local", mlflow=mlflow)
    own = own_attributes(of, content, mlflow=mlflow)
    assert not common.keys() & own.keys()
    return common | own


def test_a_trace_names_what_the_guide_names() -> None:
    found = attributes(trace())
    assert found["langfuse.trace.name"] == "inference"
    assert found["user.id"] == found["langfuse.user.id"] == "customer-bank-A"
    metadata = {key: found[f"langfuse.trace.metadata.{key}"] for key in ("lora", "model", "domain")}
    assert metadata == {"lora": "bank-ledger", "model": "glm-5-32b", "domain": "bank-ledger"}
    assert found["langfuse.trace.tags"] == ["customer:customer-bank-A", "lora:bank-ledger-v1.2"]
    assert found["langfuse.release"] == "bank-ledger-v1.2"
    assert (found["langfuse.version"], found["langfuse.environment"]) == ("v1.2", "local")
    assert found["langfuse.trace.metadata.pool"] == "slm"
    assert found["langfuse.trace.metadata.decision"] == "direct"
    assert None not in found.values()


def test_a_trace_follows_the_genai_conventions() -> None:
    found = attributes(trace(requested_model="llama-8b", cached_tokens=4))
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "vllm"
    assert found["gen_ai.request.model"] == "llama-8b"
    assert found["gen_ai.response.model"] == "bank-ledger-v1.2"
    assert found["gen_ai.usage.input_tokens"] == 7
    assert found["gen_ai.usage.cache_read.input_tokens"] == 4
    assert found["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.05)
    assert "error.type" not in found


def test_the_first_token_has_a_time_that_langfuse_reads() -> None:
    found = attributes(trace())
    assert found["langfuse.observation.completion_start_time"] == "2023-11-14T22:13:20.050000Z"
    silent = attributes(trace(first_byte_ns=None))
    assert "langfuse.observation.completion_start_time" not in silent


@given(
    tokens=st.integers(0, 10**9),
    cached=st.none() | st.integers(0, 10**9),
    out=st.integers(0, 10**6),
)
def test_langfuse_counts_each_token_once(tokens: int, cached: int | None, out: int) -> None:
    found = attributes(trace(input_tokens=tokens, cached_tokens=cached, output_tokens=out))
    usage = json.loads(str(found["langfuse.observation.usage_details"]))
    assert sum(usage.values()) == tokens + out
    assert sum(n for kind, n in usage.items() if kind.startswith("input")) == tokens
    assert min(usage.values()) >= 0


def test_unknown_usage_is_no_usage() -> None:
    found = attributes(trace(input_tokens=None, output_tokens=None))
    assert not [key for key in found if "usage" in key]


def test_an_arm_and_a_base_model_change_the_tags() -> None:
    arm = attributes(trace(labels=replace(LABELS, experiment="ledger-v1.3:candidate")))
    assert "experiment:ledger-v1.3:candidate" in arm["langfuse.trace.tags"]
    base = attributes(
        trace(labels=replace(LABELS, adapter=False, served_model="glm-5-32b")), mlflow=True
    )
    assert base["langfuse.trace.tags"] == ["customer:customer-bank-A"]
    assert not [key for key in base if key.endswith("lora")]
    assert base["langfuse.release"] == "glm-5-32b"


def test_only_mlflow_gets_its_tags() -> None:
    assert not [key for key in attributes(trace()) if key.startswith("mlflow.")]
    found = attributes(trace(), mlflow=True)
    tags = {key.removeprefix("mlflow.traceTag."): value for key, value in found.items()}
    assert tags["lora"] == "bank-ledger-v1.2"
    assert tags["customer"] == "customer-bank-A"
    assert tags["mlflow.traceName"] == "inference"
    assert tags["ttft_ms"] == "50.0"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": 499, "error": "client_closed"}, "client_closed"),
        ({"status": 200, "error": "deadline_exceeded"}, "deadline_exceeded"),
        ({"status": 400}, "400"),
    ],
)
def test_a_failure_is_an_error_to_everyone(changes: dict[str, object], error: str) -> None:
    failed = trace(**changes)
    found = attributes(failed)
    assert found["error.type"] == error
    assert found["langfuse.observation.level"] == "ERROR"
    assert decoded(failed)[0].status.code == 2


@given(st.text(max_size=300))
def test_labels_are_what_langfuse_takes(text: str) -> None:
    made = label(text)
    assert made.isascii()
    assert made.isprintable()
    assert len(made) <= 200
    if text.isascii() and text.isprintable() and len(text) <= 200 and "%" not in text:
        assert made == text


@given(st.text(max_size=250), st.text(max_size=250))
def test_labels_keep_customers_apart(one: str, other: str) -> None:
    assert (customer_tag(one) == customer_tag(other)) == (one == other)


def decoded(*traces: InferenceTrace) -> list[object]:
    encoder = SpanEncoder("local", mlflow=True)
    body = ExportTraceServiceRequest()
    body.ParseFromString(encoder.request([encoder.span(t, NO_CONTENT) for t in traces]))
    (resource,) = body.resource_spans
    assert values(resource.resource)["service.name"] == "router"
    (scope,) = resource.scope_spans
    return list(scope.spans)


def test_hostile_names_do_not_break_a_batch() -> None:
    names = ["slm", "x" * 200, "은행-원장", "\ud800 alone", "nul\0 and \n newline", "100%"]
    spans = decoded(*(trace(i, requested_model=name) for i, name in enumerate(names)))
    models = [values(span)["gen_ai.request.model"] for span in spans]
    assert models[:2] == names[:2]
    assert len(set(models)) == len(names)
    assert all(model.isascii() and len(model) <= 200 for model in models)
    assert {span.name for span in spans} == {"inference"}


def test_a_span_is_the_request() -> None:
    (span,) = decoded(trace())
    assert span.trace_id.hex() == trace().request_id
    assert span.end_time_unix_nano - span.start_time_unix_nano == 200_000_000
    assert span.status.code == 1
    again = decoded(trace())[0]
    assert (again.trace_id, again.span_id) == (span.trace_id, span.span_id)


_VARIANTS = st.builds(
    trace,
    st.integers(0, 5),
    st.sampled_from([LABELS, replace(LABELS, customer="b"), replace(LABELS, experiment="x:y")]),
    requested_model=st.sampled_from(["slm", "llm"]),
    status=st.sampled_from([200, 400, 499]),
    error=st.sampled_from([None, "client_closed"]),
    attempts=st.integers(1, 2),
    input_tokens=st.sampled_from([None, 1, 2]),
    first_byte_ns=st.sampled_from([None, 1_700_000_000_050_000_000]),
)


@given(st.lists(_VARIANTS, max_size=8))
def test_what_is_remembered_of_one_request_is_in_no_other(traces: list[InferenceTrace]) -> None:
    encoder = SpanEncoder("local", mlflow=True)
    fresh = [SpanEncoder("local", mlflow=True).span(t, NO_CONTENT) for t in traces]
    assert [encoder.span(t, NO_CONTENT) for t in traces] == fresh


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000, 3_000_000])
def test_a_request_of_any_size_can_be_read(size: int) -> None:
    encoder = SpanEncoder("local", mlflow=False)
    content = Content("redacted", input_messages="x" * size)
    body = ExportTraceServiceRequest()
    body.ParseFromString(encoder.request([encoder.span(trace(i), content) for i in range(3)]))
    (spans,) = [scope.spans for scope in body.resource_spans[0].scope_spans]
    assert [len(values(span)["gen_ai.input.messages"]) for span in spans] == [size] * 3
    assert [span.trace_id.hex() for span in spans] == [trace(i).request_id for i in range(3)]
