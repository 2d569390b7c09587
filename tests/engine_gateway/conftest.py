"""A real Envoy as in a model pod, in front of a stand-in for vLLM."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.processes import ROOT, free_port, running
from serving.engine_gateway.bootstrap import GatewayPorts, envoy_command, render_bootstrap

LOOPBACK = "127.0.0.1"


class EngineStandIn(ThreadingHTTPServer):
    """Answers everything with 200 and what it was sent; knows no models.

    Unlike vLLM it refuses no method or path: what must not get in shows in `seen`.
    It ends the connection of a request with `X-Test: end`.
    `/v1/completions` sends one chunk, then waits until the test lets it send the last one.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, free_port()), _Handler)
        self.seen: list[tuple[str, str]] = []
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EngineStandIn

    def handle_any(self) -> None:
        self.server.seen.append((self.command, self.path))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("X-Test") == "end":
            self.close_connection = True
            return
        if self.path == "/v1/completions":
            self._stream()
            return
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = handle_any  # noqa: N815

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for text in (b"data: first\n\n", b"data: last\n\n", b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
            self.wfile.flush()
            self.server.go_on.wait(60)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Gateway:
    """Envoy, its ports, and the server behind it."""

    ports: GatewayPorts
    engine: EngineStandIn

    def raw(self, request: bytes, *, port: int | None = None) -> Answer:
        """Send bytes as they are: no client library tidies the path."""
        with socket.create_connection((LOOPBACK, port or self.ports.inference), 60) as connection:
            connection.sendall(request)
            response = HTTPResponse(connection, method=request.split(None, 1)[0].decode())
            response.begin()
            return Answer(response.status, response.read(), dict(response.getheaders()))

    def ask(
        self, method: str, target: str, *headers: str, port: int | None = None, body: bytes = b""
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: pod", *headers]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return self.raw("\r\n".join(lines).encode() + body, port=port)


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    engine = EngineStandIn()
    thread = threading.Thread(target=engine.serve_forever)
    thread.start()
    folder = tmp_path_factory.mktemp("gateway")
    ports = GatewayPorts(
        inference=free_port(), metrics=free_port(), engine=engine.port, admin=free_port()
    )
    config = folder / "envoy.json"
    config.write_text(render_bootstrap(ports, idle_s=60, host=LOOPBACK))
    _, *arguments = envoy_command(str(config))
    ready = f"http://{LOOPBACK}:{ports.metrics}/healthz"
    command = [str(ROOT / ".venv-edge" / "bin" / "envoy"), *arguments]
    try:
        with running(command, log=folder / "log", ready_url=ready):
            yield Gateway(ports, engine)
    finally:
        engine.go_on.set()
        engine.shutdown()
        thread.join()
        engine.server_close()
