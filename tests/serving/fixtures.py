"""Fixtures: the request path, and the real MLflow."""

import contextlib
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


ADMIN = ("operator", "a-password-of-the-administrator")
"""Login of the administrator of `mlflow_with_users`."""


@pytest.fixture
def mlflow_url(tmp_path: Path) -> Iterator[str]:
    with _mlflow(tmp_path) as url:
        yield url


@pytest.fixture(scope="module")
def mlflow_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow as components/mlflow.py starts it, on SQLite."""
    directory = tmp_path_factory.mktemp("mlflow")
    auth = directory / "auth.ini"
    auth.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{directory}/users.db\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-the-test",
    }
    with _mlflow(directory, "--app-name", "basic-auth", **environment) as url:
        yield url


@contextlib.contextmanager
def _mlflow(directory: Path, *options: str, **environment: str) -> Iterator[str]:
    assert _MLFLOW.exists(), "no .venv-mlflow: run `make setup`"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(_MLFLOW), "server", "--backend-store-uri", f"sqlite:///{directory}/mlflow.db",
        "--artifacts-destination", str(directory / "artifacts"), "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", *options,
    ]  # fmt: skip
    quiet = {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # The workers of MLflow's own job queue only make its start slower.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = directory / "mlflow.log"
    env = {**quiet, **environment}
    with running(command, log=log, ready_url=f"{url}/health", timeout_s=240, env=env):
        yield url
