"""Fixtures: the request path, and the real MLflow."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from stand_in_vllm import StandInVllm
from world import RequestPath, World, running_router, running_sync, serving

from benchmarks.processes import ROOT, free_port, running

_MLFLOW = ROOT / ".venv-mlflow/bin/mlflow"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def request_path(world: World) -> AsyncIterator[RequestPath]:
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        running_router(world.router_config(vllm_url, sync_url)) as (url, router),
        aiohttp.ClientSession() as session,
    ):
        yield RequestPath(world, vllm, sync, router, url, session)


@pytest.fixture
def mlflow_url(tmp_path: Path) -> Iterator[str]:
    assert _MLFLOW.exists(), "no .venv-mlflow: run `make setup`"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(_MLFLOW), "server", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination", str(tmp_path / "artifacts"), "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # The workers of MLflow's own job queue only make its start slower.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = tmp_path / "mlflow.log"
    with running(command, log=log, ready_url=f"{url}/health", timeout_s=240, env=environment):
        yield url
