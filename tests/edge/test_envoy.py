"""The real Envoy and the real translator: domains come and go while requests are served."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import yaml

from serving.edge.config import EdgeConfig
from serving.edge.files import replace_file
from serving.edge.routes import http_route

from .conftest import RouterStandIn, edge_config

DEADLINE_S = 120


@dataclass
class Edge:
    config: EdgeConfig
    envoy: subprocess.Popen[bytes]

    def get(self, path: str = "/v1/models", **headers: str) -> tuple[int, dict]:
        connection = HTTPConnection("127.0.0.1", self.config.listen.port, timeout=60)
        try:
            response = self.send(connection, path, **headers)
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def send(self, connection: HTTPConnection, path: str, **headers: str) -> HTTPResponse:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request("GET", path, headers=named)
        return connection.getresponse()

    def admin(self, path: str) -> str:
        connection = HTTPConnection("127.0.0.1", self.config.admin.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def put(self, domain: str, *aliases: str, service: str = "router") -> None:
        route = http_route(domain, aliases, "pipeline", "edge", service, 8081)
        replace_file(self.config.routes_dir / f"{domain}.yaml", yaml.safe_dump(route))

    def remove(self, domain: str) -> None:
        (self.config.routes_dir / f"{domain}.yaml").unlink()

    def wait_for(self, domain: str, status: int) -> None:
        until(lambda: self.get(X_Customer_Domain=domain)[0] == status)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true in {DEADLINE_S} s")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def edge(
    tmp_path_factory: pytest.TempPathFactory, router: RouterStandIn, project_root: Path
) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    config = edge_config(folder, router.port)
    file = folder / "edge.json"
    file.write_text(config.model_dump_json())
    log = (folder / "log").open("wb")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, "--config", str(file)],
            cwd=project_root,
            stdout=log,
            stderr=log,
        )
        for module in ("serving.edge", "serving.edge.launch")
    ]
    try:
        until(lambda: _listens(config.listen.port))
        yield Edge(config, processes[1])
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)
        log.close()


def test_a_domain_is_served_without_a_restart_and_goes_the_same_way(edge: Edge) -> None:
    status, body = edge.get(X_Customer_Domain="bank-ledger")
    assert (status, body["error"]["code"]) == (404, "unknown_domain")
    edge.put("bank-ledger", "bank")
    edge.wait_for("bank-ledger", 200)
    assert edge.get(X_Customer_Domain="bank")[0] == 200
    assert edge.get(X_Customer_Domain="BANK")[0] == 404
    assert edge.get(X_Customer_Domain="bank-ledge")[0] == 404
    assert edge.get(X_Customer_Domain="")[0] == 404
    edge.remove("bank-ledger")
    edge.wait_for("bank-ledger", 404)
    assert edge.get(X_Customer_Domain="bank")[0] == 404
    # The listener that the first request met was never replaced.
    assert "listener_manager.listener_modified: 0" in edge.admin("/stats?filter=listener_modified")
    assert edge.envoy.poll() is None


def test_without_the_header_the_key_decides_so_the_router_gets_the_request(edge: Edge) -> None:
    status, seen = edge.get(Authorization="Bearer a-key")
    assert status == 200
    assert seen["authorization"] == "Bearer a-key"
    assert "x-customer-domain" not in seen


def test_identity_headers_do_not_pass(edge: Edge) -> None:
    edge.put("headers")
    edge.wait_for("headers", 200)
    forged = {
        "x_bf_vk": "sk-bf-1",
        "x_bf_anything_new": "1",
        "X_Bf_Dim_Customer": "other",
        "x_api_key": "sk-bf-2",
        "x_customer_id": "other",
        "x_forwarded_user": "root",
        "x_auth_request_groups": "admins",
        "x_request_id": "chosen-by-the-client",
    }
    for domain in ({"X_Customer_Domain": "headers"}, {}):
        status, seen = edge.get(**forged, **domain, Authorization="Bearer k", x_trace="kept")
        assert status == 200
        passed = {name.lower().replace("_", "-") for name in forged} & set(seen)
        assert passed == {"x-request-id"}
        assert seen["x-request-id"] != "chosen-by-the-client"
        assert seen["authorization"] == "Bearer k"
        assert seen["x-trace"] == "kept"
        assert seen.get("x-customer-domain") == domain.get("X_Customer_Domain")


def test_only_the_api_is_reachable(edge: Edge) -> None:
    for path in ("/metrics", "/healthz", "/v1/../metrics", "/"):
        status, body = edge.get(path)
        assert status == 404
        assert body["error"]["type"] == "edge_error"


def test_a_stream_is_not_buffered_and_outlives_changes_of_the_routes(
    edge: Edge, router: RouterStandIn
) -> None:
    edge.put("streams")
    edge.wait_for("streams", 200)
    router.go_on.clear()
    connection = HTTPConnection("127.0.0.1", edge.config.listen.port, timeout=DEADLINE_S)
    response = edge.send(connection, "/v1/stream", X_Customer_Domain="streams")
    # The router sends the rest only after this: a proxy that collected the answer would hang here.
    assert response.readline() == b"data: first\n"
    edge.put("another")
    edge.wait_for("another", 200)
    edge.remove("another")
    edge.wait_for("another", 404)
    router.go_on.set()
    assert response.read() == b"\ndata: last\n\n"
    connection.close()


def test_a_route_that_cannot_be_served_is_named_and_harms_no_other(edge: Edge) -> None:
    edge.put("broken", service="no-such-service")
    (edge.config.routes_dir / "torn.yaml").write_text("kind: HTTPRoute\nmetadata: [")
    edge.put("healthy")
    edge.wait_for("healthy", 200)
    status = edge.config.xds_dir / "status.json"
    problems = json.loads(status.read_text())["problems"]
    assert set(problems) == {"broken.yaml", "torn.yaml"}
    assert "is not the router" in problems["broken.yaml"]
    assert edge.get(X_Customer_Domain="broken")[0] == 404
    for name in ("broken", "torn"):
        edge.remove(name)
    until(lambda: json.loads(status.read_text())["problems"] == {})


def test_a_taken_port_is_named(edge: Edge, tmp_path: Path, project_root: Path) -> None:
    file = tmp_path / "edge.json"
    file.write_text(edge.config.model_dump_json())
    second = subprocess.run(
        [sys.executable, "-m", "serving.edge.launch", "--config", str(file)],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert second.returncode == 2
    assert second.stderr.startswith(f"listen.port: port {edge.config.listen.port} on 127.0.0.1")


def test_a_router_that_is_down_gives_json(edge: Edge, router: RouterStandIn) -> None:
    clusters = edge.config.xds_dir / "cds.json"
    good = clusters.read_text()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        replace_file(clusters, good.replace(str(router.port), str(unused.getsockname()[1])))
        until(lambda: edge.get()[0] == 503)
        assert edge.get()[1]["error"]["type"] == "edge_error"
    replace_file(clusters, good)
    until(lambda: edge.get()[0] == 200)
