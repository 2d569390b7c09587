"""Traces: what they carry, what happens when nobody takes them, and what the real MLflow shows."""

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stand_in_vllm import StandInVllm
from test_router_resolves import live
from world import RequestPath, World, running_router, running_sync, serving, until

from benchmarks.processes import free_port
from serving.tracing.config import TracingConfig
from serving.tracing.trace import InferenceTrace, attributes
from serving.tracing.tracer import Tracer

ROOT = Path(__file__).resolve().parents[2]
MLFLOW = ROOT / ".venv-mlflow/bin/mlflow"

TRACE = InferenceTrace(
    request_id="0123456789abcdef0123456789abcdef",
    edge_request_id=None,
    started_ns=1_700_000_000_000_000_000,
    first_byte_ns=1_700_000_000_050_000_000,
    ended_ns=1_700_000_000_200_000_000,
    operation="chat",
    domain="bank-ledger",
    customer="customer-bank-A",
    version="v1.0",
    served_model="bank-ledger-v1.0",
    requested_model="slm",
    pool="slm",
    stream=True,
    status=200,
    input_tokens=7,
    output_tokens=3,
    cached_tokens=None,
    error=None,
    attempts=1,
)


def test_attributes_name_customer_release_and_tokens() -> None:
    found = attributes(TRACE, "local")
    assert found["gen_ai.usage.input_tokens"] == 7
    assert found["user.id"] == "customer-bank-A"
    assert found["langfuse.trace.tags"] == ["customer:customer-bank-A", "lora:bank-ledger-v1.0"]
    assert found["langfuse.trace.metadata.lora"] == "bank-ledger-v1.0"
    assert found["mlflow.traceTag.version"] == "v1.0"
    assert found["langfuse.trace.metadata.ttft_ms"] == "50.0"
    assert "gen_ai.input.messages" not in found
    assert None not in found.values()


class StandInMlflow:
    """What the tracer asks of MLflow; differs in keeping one experiment, in memory."""

    def __init__(self) -> None:
        self.experiment: str | None = None
        self.batches: list[tuple[str | None, ExportTraceServiceRequest]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/2.0/mlflow/experiments/get-by-name", self._get)
        app.router.add_post("/api/2.0/mlflow/experiments/create", self._create)
        app.router.add_post("/v1/traces", self._traces)
        return app

    async def _get(self, request: web.Request) -> web.Response:
        if self.experiment != request.query["experiment_name"]:
            return web.json_response({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
        return web.json_response({"experiment": {"experiment_id": "7"}})

    async def _create(self, request: web.Request) -> web.Response:
        self.experiment = (await request.json())["name"]
        return web.json_response({"experiment_id": "7"})

    async def _traces(self, request: web.Request) -> web.Response:
        body = ExportTraceServiceRequest()
        body.ParseFromString(await request.read())
        self.batches.append((request.headers.get("x-mlflow-experiment-id"), body))
        return web.Response(content_type="application/x-protobuf")


async def test_a_request_becomes_one_trace_under_its_own_id(world: World) -> None:
    mlflow, vllm = StandInMlflow(), StandInVllm()
    async with (
        serving(mlflow.application()) as mlflow_url,
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
    ):
        tracing = {"otlp_endpoint": f"{mlflow_url}/v1/traces", "mlflow_url": mlflow_url}
        config = world.router_config(vllm_url, sync_url, tracing=tracing)
        async with running_router(config) as (url, router), aiohttp.ClientSession() as session:
            path = RequestPath(world, vllm, sync, router, url, session)
            key = await live(path, "bank-ledger", "v1.0", content_capture="on")
            _, _, headers = await path.ask(key)
            await until(lambda: bool(mlflow.batches), "the trace arrives")
    ((experiment, body),) = mlflow.batches
    (span,) = body.resource_spans[0].scope_spans[0].spans
    values = {pair.key: pair.value for pair in span.attributes}
    assert (experiment, mlflow.experiment, span.name) == ("7", "inference", "inference")
    assert span.trace_id.hex() == headers["X-Request-Id"]
    assert values["gen_ai.usage.output_tokens"].int_value == 8
    assert "one two three" in values["gen_ai.input.messages"].string_value
    assert len(values["gen_ai.output.messages"].string_value.split()) == 8


def test_nobody_there_drops_and_counts_and_never_waits() -> None:
    dropped: list[int] = []
    config = TracingConfig(
        otlp_endpoint="http://127.0.0.1:9/v1/traces", mlflow_url="http://127.0.0.1:9", queue=5
    )
    tracer = Tracer(config, on_dropped=dropped.append)
    for _ in range(50):
        tracer.record(TRACE)
    assert sum(dropped) == 45
    tracer.close()


@pytest.fixture
def mlflow_url(tmp_path: Path) -> Iterator[str]:
    assert MLFLOW.exists(), "no .venv-mlflow: run `make setup`"
    port = free_port()
    process = subprocess.Popen(
        [
            str(MLFLOW), "server", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db",
            "--artifacts-destination", str(tmp_path / "artifacts"), "--host", "127.0.0.1",
            "--port", str(port), "--workers", "1",
        ],
        env={
            **os.environ,
            "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # The workers of MLflow's own job queue only make its start slower.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        stdout=(tmp_path / "mlflow.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until_s = time.monotonic() + 240
        while time.monotonic() < until_s and process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


@pytest.mark.local
async def test_the_real_mlflow_shows_tokens_latency_and_searchable_tags(mlflow_url: str) -> None:
    dropped: list[int] = []
    config = TracingConfig(otlp_endpoint=f"{mlflow_url}/v1/traces", mlflow_url=mlflow_url)
    tracer = Tracer(config, on_dropped=dropped.append)
    tracer.record(TRACE)
    found: list[dict[str, Any]] = []
    experiments = f"{mlflow_url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=inference"
    async with asyncio.timeout(60):
        while not found:
            await asyncio.sleep(0.5)
            try:
                identity = (await asyncio.to_thread(call, experiments))["experiment"]
            except urllib.error.HTTPError:
                continue
            search = {
                "locations": [
                    {
                        "type": "MLFLOW_EXPERIMENT",
                        "mlflow_experiment": {"experiment_id": identity["experiment_id"]},
                    }
                ],
                "filter": "tags.lora = 'bank-ledger-v1.0' AND tags.customer = 'customer-bank-A'",
            }
            url = f"{mlflow_url}/api/3.0/mlflow/traces/search"
            found = (await asyncio.to_thread(call, url, search)).get("traces", [])
    tracer.close()
    (trace,) = found
    assert trace["trace_id"] == f"tr-{TRACE.request_id}"
    assert trace["execution_duration"] in {"0.200s", "0.2s"}
    assert trace["tags"]["domain"] == "bank-ledger"
    assert trace["tags"]["version"] == "v1.0"
    metadata = trace["trace_metadata"]
    assert metadata["mlflow.trace.user"] == "customer-bank-A"
    assert json.loads(metadata["mlflow.trace.tokenUsage"])["total_tokens"] == 10
    assert not dropped
