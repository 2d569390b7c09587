"""A pod that goes waits for its requests, and for nothing else."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from serving.engine_gateway import drain

_BUSY = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama-8b"} %s
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama-8b"} %s
vllm:num_requests_waiting_by_reason{engine="0",model_name="llama-8b",reason="capacity"} 7.0
"""


class Metrics(ThreadingHTTPServer):
    """The metrics of a vLLM that is stood in for: each answer is the next of a list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), _Handler)
        self.running: list[float] = []
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/metrics"


class _Handler(BaseHTTPRequestHandler):
    server: Metrics

    def do_GET(self) -> None:
        self.server.asked += 1
        left = self.server.running
        running = left.pop(0) if len(left) > 1 else left[0]
        self.send_response(200 if running >= 0 else 500)
        self.end_headers()
        self.wfile.write((_BUSY % (running, 0.0)).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metrics]:
    monkeypatch.setattr(drain, "_POLL_S", 0.01)
    server = Metrics()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("running", "waiting", "total"), [(0, 0, 0), (3, 2, 5), (0, 1, 1)])
def test_requests_that_run_and_wait_are_counted_once(
    running: int, waiting: int, total: int
) -> None:
    assert drain.requests_in(_BUSY % (f"{running}.0", f"{waiting}.0")) == total


def test_it_waits_until_the_last_request_has_ended(metrics: Metrics) -> None:
    metrics.running = [2, 1, 1, 0]
    assert drain.wait_until_idle(metrics.url, settle_s=0, limit_s=60)
    assert metrics.asked == 4


def test_it_gives_up_at_the_limit(metrics: Metrics) -> None:
    metrics.running = [1]
    assert not drain.wait_until_idle(metrics.url, settle_s=0, limit_s=0.2)
    assert metrics.asked > 1


def test_an_error_is_not_taken_for_idle(metrics: Metrics) -> None:
    metrics.running = [-1, -1, 0]
    assert drain.wait_until_idle(metrics.url, settle_s=0, limit_s=60)
    assert metrics.asked == 3


def test_a_server_that_has_ended_has_nothing_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}/metrics"
    assert drain.wait_until_idle(url, settle_s=0, limit_s=60)


def test_requests_that_come_while_routers_learn_are_waited_for(metrics: Metrics) -> None:
    metrics.running = [0]
    started = time.monotonic()
    assert drain.wait_until_idle(metrics.url, settle_s=0.3, limit_s=60)
    assert time.monotonic() - started >= 0.3


def test_it_runs_without_the_project(metrics: Metrics, tmp_path: Path) -> None:
    # In a pod it is one file beside an image that has only Python.
    script = tmp_path / "drain.py"
    script.write_text(Path(drain.__file__).read_text())
    metrics.running = [0]
    arguments = ["--metrics", metrics.url, "--settle", "0", "--limit", "60"]
    command = [sys.executable, "-I", "-S", str(script), *arguments]
    ended = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    metrics.running = [1]
    arguments[-1] = "0.1"
    assert subprocess.run([*command[:4], *arguments], cwd=tmp_path, check=False).returncode == 1
