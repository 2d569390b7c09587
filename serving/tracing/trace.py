"""The trace of one request: which attributes it has. No I/O."""

from dataclasses import dataclass
from typing import Final

SPAN_NAME: Final = "inference"

AttributeValue = str | int | float | bool | list[str]


@dataclass(frozen=True, kw_only=True)
class InferenceTrace:
    """One request as a trace shows it. Times are nanoseconds since the epoch."""

    request_id: str
    edge_request_id: str | None
    started_ns: int
    first_byte_ns: int | None
    ended_ns: int
    operation: str
    """`chat` or `text_completion`, as the GenAI conventions name it."""
    domain: str
    customer: str
    version: str | None
    served_model: str
    requested_model: str
    pool: str
    stream: bool
    status: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    error: str | None
    attempts: int
    input_text: str | None = None
    """What the content policy of the domain lets a trace carry; None means nothing."""
    output_text: str | None = None


def attributes(trace: InferenceTrace, environment: str) -> dict[str, AttributeValue]:
    """Attributes by the GenAI conventions, and by what Langfuse and MLflow read beside them."""
    metadata = _metadata(trace)
    values: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": trace.operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": trace.requested_model,
        "gen_ai.response.model": trace.served_model,
        "gen_ai.usage.input_tokens": trace.input_tokens,
        "gen_ai.usage.output_tokens": trace.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": trace.cached_tokens,
        "gen_ai.input.messages": trace.input_text,
        "gen_ai.output.messages": trace.output_text,
        "http.response.status_code": trace.status,
        "error.type": trace.error,
        "user.id": trace.customer,
        "langfuse.user.id": trace.customer,
        "langfuse.trace.name": SPAN_NAME,
        "langfuse.trace.tags": [f"customer:{trace.customer}", f"lora:{trace.served_model}"],
        "langfuse.version": trace.version,
        "langfuse.environment": environment,
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": trace.served_model,
        "mlflow.traceTag.mlflow.traceName": SPAN_NAME,
    }
    values |= {f"langfuse.trace.metadata.{key}": value for key, value in metadata.items()}
    # MLflow makes a searchable tag of the trace of each of these.
    values |= {f"mlflow.traceTag.{key}": value for key, value in metadata.items()}
    values["mlflow.traceTag.customer"] = trace.customer
    return {key: value for key, value in values.items() if value is not None}


def _metadata(trace: InferenceTrace) -> dict[str, str]:
    ttft = trace.first_byte_ns
    values = {
        "request_id": trace.request_id,
        "edge_request_id": trace.edge_request_id,
        "domain": trace.domain,
        "lora": trace.served_model,
        "version": trace.version,
        "model": trace.requested_model,
        "pool": trace.pool,
        "status": str(trace.status),
        "stream": str(trace.stream).lower(),
        "attempts": str(trace.attempts),
        "ttft_ms": None if ttft is None else f"{(ttft - trace.started_ns) / 1e6:.1f}",
    }
    return {key: value for key, value in values.items() if value is not None}
