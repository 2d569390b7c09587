"""The trace of one request: which attributes it has, and for whom. No I/O.

    gen_ai.*, error.type, user.id, http.*   the OpenTelemetry conventions; every receiver
    langfuse.*                              Langfuse; MLflow and others keep them as they are
    mlflow.traceTag.*                       MLflow makes a searchable tag of each; sent to it only

Langfuse aggregates over spans, so everything that it groups or filters by is on the span itself.
Its metrics cannot group by user: the tag `customer:…` is what dashboards and the reconciliation
group by. `langfuse.release` is the served adapter for the same reason: a span has several tags but
one release, so sums by release add up.

Names follow the guide: metadata `lora` is the adapter without its version, which is the domain's
name here, `domain` the domain and `model` the base model under the adapter. The tags name the
adapter with its version, `lora:bank-ledger-v1.2`; MLflow's tags do too, as `lora`. A request that
the base model answered has no `lora`.
"""

import hashlib
import re
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import quote

SPAN_NAME: Final = "inference"

AttributeValue = str | int | float | bool | list[str]
Attributes = dict[str, AttributeValue]
Capture = Literal["off", "hashed", "on"]
CaptureState = Literal["off", "hashed", "redacted", "withheld"]
"""What became of the content; `withheld`: redaction failed, so nothing is shown."""

DropReason = Literal["queue_full", "refused", "unreachable", "closing", "internal_error"]
"""Why a trace was lost."""

# Langfuse's own SDK drops values that are longer or not US-ASCII.
_MAX_LABEL: Final = 200
_LABEL: Final = re.compile(rf"[ -$&-~]{{0,{_MAX_LABEL}}}")
_PRINTABLE: Final = string.ascii_letters + string.digits + string.punctuation.replace("%", "") + " "


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What many requests have in common: who asked, and what answers by which decision."""

    customer: str
    domain: str
    version: str | None
    served_model: str
    base_model: str
    """The model under the adapter, or the one that answers itself."""
    adapter: bool
    """Whether an adapter answers; False when the release leaves the pool on its base model."""
    pool: str
    operation: str
    """`chat` or `text_completion`, as the GenAI conventions name it."""
    stream: bool
    decision: str | None = None
    """Why this pool: `direct` when the request named it."""
    experiment: str | None = None
    """Experiment and arm, when the request is in one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceTrace:
    """One request as a trace shows it. Times are nanoseconds since the epoch."""

    request_id: str
    """32 hex digits; also the trace id, so that a ledger line leads to its trace."""
    edge_request_id: str | None
    labels: Labels
    requested_model: str
    """As the client wrote it."""
    started_ns: int
    first_byte_ns: int | None
    ended_ns: int
    status: int
    input_tokens: int | None
    """All of them, those from the prefix cache included."""
    output_tokens: int | None
    cached_tokens: int | None
    error: str | None
    attempts: int
    capture: Capture = "off"
    """What the domain lets a trace show of the two below."""
    prompt: bytes = b""
    """The request's body; empty where nothing is captured."""
    answer: bytes = b""
    """The response's body, or the events of its stream, from the beginning on."""

    @property
    def failed(self) -> bool:
        """Whether the client got less than an answer."""
        return self.error is not None or self.status >= 400


@dataclass(frozen=True)
class Content:
    """What a trace shows of prompt and answer, after the domain's policy was applied."""

    state: CaptureState = "off"
    input_messages: str | None = None
    """JSON, in the shape of the GenAI conventions."""
    output_messages: str | None = None
    input_hash: str | None = None
    output_hash: str | None = None


NO_CONTENT: Final = Content()


def label(value: str) -> str:
    """A value as Langfuse accepts it: printable US-ASCII, 200 characters at most.

    Other characters and `%` are percent-encoded, and what is too long ends with a digest: values
    that differ stay different.
    """
    if _LABEL.fullmatch(value):
        return value
    quoted = quote(value, safe=_PRINTABLE, errors="surrogatepass")
    if len(quoted) <= _MAX_LABEL:
        return quoted
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{quoted[: _MAX_LABEL - len(digest) - 1]}~{digest}"


def customer_tag(customer: str) -> str:
    """The tag that Langfuse groups a customer's requests by."""
    return label(f"customer:{customer}")


def adapter_tag(served_model: str) -> str:
    """The tag of one version of an adapter."""
    return label(f"lora:{served_model}")


def experiment_tag(experiment: str) -> str:
    """The tag of one arm of an experiment."""
    return label(f"experiment:{experiment}")


def common_attributes(
    trace: InferenceTrace, state: CaptureState, environment: str, *, mlflow: bool
) -> Attributes:
    """Attributes that many requests share.

    They depend on the labels, the requested model, the status, the error, the attempts and the
    arguments alone: `serving.tracing.otlp` remembers them by these.
    """
    labels = trace.labels
    customer, served = label(labels.customer), label(labels.served_model)
    adapter = served if labels.adapter else None
    metadata = _common_metadata(trace, state)
    values: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": labels.operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": metadata["requested_model"],
        "gen_ai.request.stream": labels.stream,
        "gen_ai.response.model": served,
        "http.response.status_code": trace.status,
        "error.type": trace.error or (str(trace.status) if trace.failed else None),
        "user.id": customer,
        "langfuse.user.id": customer,
        "langfuse.trace.name": SPAN_NAME,
        "langfuse.trace.tags": _tags(labels),
        "langfuse.version": labels.version,
        "langfuse.release": served,
        "langfuse.environment": environment,
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": served,
        "langfuse.observation.level": "ERROR" if trace.failed else None,
        "langfuse.observation.status_message": trace.error,
        **_metadata({**metadata, "lora": labels.domain if labels.adapter else None}),
    }
    if mlflow:
        tags = {"mlflow.traceName": SPAN_NAME, "customer": customer, "lora": adapter}
        values |= _mlflow_tags({**metadata, **tags})
    return _present(values)


def _common_metadata(trace: InferenceTrace, state: CaptureState) -> dict[str, str | None]:
    labels = trace.labels
    return {
        "domain": labels.domain,
        "model": label(labels.base_model),
        "version": labels.version,
        "pool": labels.pool,
        "decision": labels.decision and label(labels.decision),
        "experiment": labels.experiment and label(labels.experiment),
        "stream": str(labels.stream).lower(),
        "requested_model": label(trace.requested_model),
        "status": str(trace.status),
        "attempts": str(trace.attempts),
        "content": state,
    }


def own_attributes(trace: InferenceTrace, content: Content, *, mlflow: bool) -> Attributes:
    """Attributes that are different in each request."""
    first = trace.first_byte_ns
    ttft_s = None if first is None else (first - trace.started_ns) / 1e9
    details: dict[str, str | None] = {
        "edge_request_id": trace.edge_request_id and label(trace.edge_request_id),
        "input_hash": content.input_hash,
        "output_hash": content.output_hash,
    }
    values: dict[str, AttributeValue | None] = {
        "gen_ai.usage.input_tokens": trace.input_tokens,
        "gen_ai.usage.output_tokens": trace.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": trace.cached_tokens,
        "gen_ai.response.time_to_first_chunk": ttft_s if trace.labels.stream else None,
        "gen_ai.input.messages": content.input_messages,
        "gen_ai.output.messages": content.output_messages,
        "langfuse.observation.usage_details": _usage_details(trace),
        "langfuse.observation.completion_start_time": None if first is None else _iso(first),
        **_metadata(details),
    }
    if mlflow:
        ttft_ms = None if ttft_s is None else f"{ttft_s * 1e3:.1f}"
        values |= _mlflow_tags({**details, "ttft_ms": ttft_ms})
    return _present(values)


def _tags(labels: Labels) -> list[str]:
    tags = [customer_tag(labels.customer)]
    if labels.adapter:
        tags.append(adapter_tag(labels.served_model))
    if labels.experiment is not None:
        tags.append(experiment_tag(labels.experiment))
    return tags


def _usage_details(trace: InferenceTrace) -> str | None:
    """Langfuse adds these up to the total, so cached tokens are in one of them only."""
    if trace.input_tokens is None:
        return None
    cached = min(trace.cached_tokens or 0, trace.input_tokens)
    uncached = trace.input_tokens - cached
    details = f'"input": {uncached}, "output": {trace.output_tokens or 0}'
    return f'{{{details}, "input_cached_tokens": {cached}}}' if cached else f"{{{details}}}"


def _iso(ns: int) -> str:
    moment = datetime.fromtimestamp(ns / 1e9, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _metadata(values: dict[str, str | None]) -> dict[str, str | None]:
    return {f"langfuse.trace.metadata.{key}": value for key, value in values.items()}


def _mlflow_tags(values: dict[str, str | None]) -> dict[str, str | None]:
    return {f"mlflow.traceTag.{key}": value for key, value in values.items()}


def _present(values: dict[str, AttributeValue | None]) -> Attributes:
    return {key: value for key, value in values.items() if value is not None}
