"""Traces that tests send, and the tracer that sends them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from serving.tracing.config import TracingConfig
from serving.tracing.trace import InferenceTrace, Labels
from serving.tracing.tracer import Tracer

LABELS = Labels(
    customer="customer-bank-A",
    domain="bank-ledger",
    version="v1.2",
    served_model="bank-ledger-v1.2",
    base_model="glm-5-32b",
    adapter=True,
    pool="slm",
    operation="chat",
    stream=True,
    decision="direct",
)


def trace(number: int = 1, labels: Labels = LABELS, **changes: Any) -> InferenceTrace:
    """A request that went well, with an id of its own for each number."""
    fields: dict[str, Any] = {
        "request_id": f"0123456789abcdef01234567{number:08x}",
        "edge_request_id": None,
        "labels": labels,
        "requested_model": "slm",
        "started_ns": 1_700_000_000_000_000_000,
        "first_byte_ns": 1_700_000_000_050_000_000,
        "ended_ns": 1_700_000_000_200_000_000,
        "status": 200,
        "input_tokens": 7,
        "output_tokens": 3,
        "cached_tokens": None,
        "error": None,
        "attempts": 1,
    }
    return InferenceTrace(**(fields | changes))


class Dropped(Counter[str]):
    """Drops by reason, as the router's metrics count them."""

    def __init__(self) -> None:
        super().__init__()
        self.withheld = 0

    def count(self, reason: str, traces: int) -> None:
        self[reason] += traces

    def withhold(self) -> None:
        self.withheld += 1


@contextlib.asynccontextmanager
async def running_tracer(config: TracingConfig) -> AsyncIterator[tuple[Tracer, Dropped]]:
    dropped = Dropped()
    tracer = Tracer(config, on_dropped=dropped.count, on_withheld=dropped.withhold)
    try:
        yield tracer, dropped
    finally:
        await asyncio.to_thread(tracer.close)
