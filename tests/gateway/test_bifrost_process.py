"""The real gateway with a rendered file, where it is installed: no registry has it as a package."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from serving.bifrost.gateway import (
    APP_DIR,
    DEFAULT_KEY,
    FILE,
    MCP_LIBRARY,
    MODEL_PARAMETERS,
    PRICES,
    gateway_file,
    key_variable,
    price_sheet,
)
from serving.bifrost.schema import to_json_data
from tests.gateway.plans import plan

BINARY = shutil.which("bifrost-http")
KEY = "sk-bf-of-the-test"
START_S = 60

pytestmark = pytest.mark.skipif(
    BINARY is None,
    reason="bifrost-http is not on PATH: its sources embed a user interface that only the build "
    "of its makers has, so it cannot be built from the Go module proxy",
)


class _Pool(BaseHTTPRequestHandler):
    """A model server that says which model it was asked for; knows no other route."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        model = json.loads(self.rfile.read(length))["model"]
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": model},
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""


@pytest.fixture
def pool_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pool)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield int(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def gateway_port(tmp_path: Path, pool_port: int) -> Iterator[int]:
    given = plan()
    here = {
        pool: replace(each, base_url=f"http://127.0.0.1:{pool_port}")
        for pool, each in given.pools.items()
    }
    given = replace(given, pools=here)
    file = json.dumps(to_json_data(gateway_file(given)))
    (tmp_path / FILE).write_text(file.replace(APP_DIR, str(tmp_path)))
    (tmp_path / PRICES).write_text(json.dumps(price_sheet(given)))
    for name in (MODEL_PARAMETERS, MCP_LIBRARY):
        (tmp_path / name).write_text("{}")
    port = free_port()
    argv = [str(BINARY), "-app-dir", str(tmp_path), "-host", "127.0.0.1", "-port", str(port)]
    environment = {**os.environ, key_variable(DEFAULT_KEY): KEY}
    with subprocess.Popen(argv, env=environment) as process:
        try:
            _wait_until_healthy(port)
            yield port
        finally:
            process.terminate()


def _wait_until_healthy(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if _send(port, "GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("it does not become healthy")


def _send(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_request_reaches_its_pool_under_the_routers_key_only(gateway_port: int) -> None:
    body = {"model": "vllm-slm/bank-ledger-v1.2", "messages": [{"role": "user", "content": "hi"}]}
    path = "/v1/chat/completions"
    status, answer = _send(gateway_port, "POST", path, body, Authorization=f"Bearer {KEY}")
    assert status == 200, answer
    message = json.loads(answer)["choices"][0]["message"]
    assert message["content"] == "bank-ledger-v1.2"
    assert _send(gateway_port, "POST", path, body)[0] in {400, 401, 403}
    assert b"bifrost_upstream_requests_total" in _send(gateway_port, "GET", "/metrics")[1]
