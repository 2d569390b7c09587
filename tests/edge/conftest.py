"""An edge on free ports, and a stand-in for the router."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.processes import free_port
from serving.edge.config import EdgeConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


def edge_config(folder: Path, router_port: int) -> EdgeConfig:
    return EdgeConfig.model_validate(
        {
            "environment": "test",
            "routes_dir": folder / "routes",
            "xds_dir": folder / "xds",
            "egctl": ROOT / ".tools" / "bin" / "egctl",
            "envoy": ROOT / ".venv-edge" / "bin" / "envoy",
            "listen": {"port": free_port()},
            "router": {"port": router_port},
            "admin": {"port": free_port()},
            "service_port": 8081,
            "interval_s": 0.1,
        }
    )


class RouterStandIn(ThreadingHTTPServer):
    """Answers with the request's headers; knows no keys, domains or models.

    `/v1/stream` sends one chunk, then waits until the test lets it send the last one.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RouterStandIn

    def do_GET(self) -> None:
        if self.path == "/v1/stream":
            self._stream()
            return
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"data: first\n\n")
        if self.server.go_on.wait(60):
            self._chunk(b"data: last\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""


@pytest.fixture(scope="module")
def router() -> Iterator[RouterStandIn]:
    server = RouterStandIn()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()
