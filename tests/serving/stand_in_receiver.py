"""Stand-ins for what receives traces, for tests.

They differ from MLflow and Langfuse in keeping what they get in memory, undigested, in checking no
credentials, and in answering as a test sets it on the object.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Span = Any


@dataclass
class StandInReceiver:
    """Receives OTLP over HTTP on any path."""

    hangs: bool = False
    """Take every request and answer none before `release`."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests; the last one stays."""
    rejects: int = 0
    """Spans that each answer says were left out."""
    held: int = 0
    """Requests that were kept waiting."""
    requests: list[tuple[str, Mapping[str, str], ExportTraceServiceRequest]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        self._released = asyncio.Event()

    def release(self) -> None:
        """Answer what waits, and whatever comes."""
        self._released.set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self._traces)
        return app

    @property
    def spans(self) -> list[Span]:
        """Every span that was answered with success."""
        return [
            span
            for _, _, body in self.requests
            for resource in body.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def _traces(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = ExportTraceServiceRequest()
        body.ParseFromString(await request.read())
        if self.hangs and not self._released.is_set():
            self.held += 1
            await self._released.wait()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else (self.statuses or [200])[0]
        if status != 200:
            return web.Response(status=status)
        self.requests.append((request.path, request.headers, body))
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = self.rejects
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")


@dataclass
class StandInMlflow(StandInReceiver):
    """Knows one experiment beside the traces, and lets in whoever has its login, if it has one."""

    experiment: str | None = None
    login: str | None = None
    """The Authorization header that it wants."""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._check_login])
        app.router.add_get("/api/2.0/mlflow/experiments/get-by-name", self._get)
        app.router.add_post("/api/2.0/mlflow/experiments/create", self._create)
        app.router.add_post("/v1/traces", self._traces)
        return app

    @web.middleware
    async def _check_login(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if self.login is not None and given != self.login:
            return web.Response(status=401)
        return await handler(request)

    async def _get(self, request: web.Request) -> web.Response:
        if self.experiment != request.query["experiment_name"]:
            return web.json_response({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
        return web.json_response({"experiment": {"experiment_id": "7"}})

    async def _create(self, request: web.Request) -> web.Response:
        self.experiment = (await request.json())["name"]
        return web.json_response({"experiment_id": "7"})


def values(span: Span) -> dict[str, Any]:
    """Attributes of a span as Python values."""
    return {pair.key: _value(pair.value) for pair in span.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
