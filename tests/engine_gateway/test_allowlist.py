"""Only inference gets through to vLLM, whatever a path, method or header pretends."""

import http.client
import json
import socket
import subprocess
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.processes import ROOT, free_port, running
from serving.engine_gateway.bootstrap import (
    ENGINE_LOST,
    INFERENCE,
    METRICS,
    GatewayPorts,
    envoy_command,
    render_bootstrap,
)

from .conftest import LOOPBACK, Gateway

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
# Routes of vLLM 0.33.0 that must stay inside the pod.
INSIDE = (
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/tokenize",
    "/detokenize",
    "/invocations",
    "/metrics",
    "/ping",
    "/load",
    "/version",
    "/pooling",
    "/score",
    "/rerank",
    "/v1/responses",
    "/v1/audio/transcriptions",
    "/inference/v1/generate",
    "/sleep",
    "/wake_up",
    "/collective_rpc",
    "/server_info",
    "/docs",
    "/openapi.json",
    "/",
)
ALLOWED = set(INFERENCE)


def passed(gateway: Gateway) -> list[tuple[str, str]]:
    """What the engine saw since the last call."""
    seen, gateway.engine.seen[:] = list(gateway.engine.seen), []
    return seen


def test_the_real_envoy_takes_the_configuration_of_a_pod(tmp_path: Path) -> None:
    config = tmp_path / "envoy.json"
    ports = GatewayPorts(inference=8000, metrics=9100, engine=8001, admin=9901)
    config.write_text(render_bootstrap(ports, idle_s=600))
    checked = subprocess.run(
        [
            str(ROOT / ".venv-edge" / "bin" / "envoy"),
            *("--mode", "validate", "--disable-hot-restart", "-c", str(config)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    # A field that Envoy would ignore, or will remove, is named in a warning.
    assert "deprecated" not in checked.stderr.lower()


@pytest.mark.parametrize(("method", "path"), [each for each in INFERENCE if "compl" not in each[1]])
def test_what_is_allowed_reaches_the_engine_as_it_was_sent(
    gateway: Gateway, method: str, path: str
) -> None:
    passed(gateway)
    answer = gateway.ask(method, path, "X-Request-Id: 7f2a", "traceparent: 00-ab-cd-01", body=b"{}")
    assert answer.status == 200
    assert passed(gateway) == [(method, path)]
    headers = json.loads(answer.body)
    assert headers["x-request-id"] == "7f2a"
    assert headers["traceparent"] == "00-ab-cd-01"


def test_every_other_method_and_path_is_refused(gateway: Gateway) -> None:
    passed(gateway)
    paths = [*INSIDE, *(path for _, path in INFERENCE)]
    refused = [pair for pair in product(METHODS, paths) if pair not in ALLOWED]
    assert len(refused) > 150
    for method, path in refused:
        answer = gateway.ask(method, path)
        assert answer.status == 403, (method, path)
        if method != "HEAD":
            assert json.loads(answer.body)["error"]["code"] == "not_allowed"
    assert passed(gateway) == []


@pytest.mark.parametrize(
    "target",
    [
        "//v1/load_lora_adapter",
        "/v1//load_lora_adapter",
        "/v1/./load_lora_adapter",
        "/v1/models/../load_lora_adapter",
        "/v1/chat/completions/../../load_lora_adapter",
        "/v1/models/%2e%2e/load_lora_adapter",
        "/v1/models/%2E%2e/load_lora_adapter",
        "/v1/models/..%2fload_lora_adapter",
        "/v1/models%2f..%2fload_lora_adapter",
        "/v1/models/..%5cload_lora_adapter",
        "/v1/models\\..\\load_lora_adapter",
        "/v1%2fload_lora_adapter",
        "/v1/load%5flora%5fadapter",
        "/v1/%6coad_lora_adapter",
        "/v1/load_lora_adapter;/v1/chat/completions",
        "/v1/chat/completions;/../load_lora_adapter",
        "/v1/chat/completions;x=1",
        "/v1/chat/completions/",
        "/v1/chat/completions%00",
        "/v1/chat/completions%20",
        "/V1/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completionsx",
        "/v1/chat",
        "/x/v1/chat/completions",
        "/tokenize?/v1/chat/completions",
        "/v1/load_lora_adapter?path=/v1/chat/completions",
        "/v1/load_lora_adapter#/v1/chat/completions",
        "http://pod/v1/load_lora_adapter",
        "http://127.0.0.1:8001/tokenize",
        "*",
    ],
)
def test_no_spelling_of_a_path_gets_through(gateway: Gateway, target: str) -> None:
    passed(gateway)
    answer = gateway.ask("POST", target)
    assert answer.status in {400, 403, 404}
    assert passed(gateway) == []


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("//v1//chat//completions", "/v1/chat/completions"),
        ("/v1/load_lora_adapter/../chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions?model=x", "/v1/chat/completions?model=x"),
        ("http://elsewhere/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_what_is_tidied_reaches_the_engine_tidied(
    gateway: Gateway, target: str, reached: str
) -> None:
    passed(gateway)
    assert gateway.ask("POST", target).status == 200
    assert passed(gateway) == [("POST", reached)]


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Original-URL: /v1/load_lora_adapter",
        "X-Rewrite-URL: /v1/load_lora_adapter",
        "X_HTTP_Method_Override: DELETE",
        "x-envoy-original-path: /v1/load_lora_adapter",
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-retry-on: 5xx",
    ],
)
def test_no_header_names_another_method_or_path(gateway: Gateway, header: str) -> None:
    passed(gateway)
    answer = gateway.ask("POST", "/v1/chat/completions", header)
    assert answer.status == 200
    assert passed(gateway) == [("POST", "/v1/chat/completions")]
    name = header.partition(":")[0].lower()
    received = json.loads(answer.body)
    assert name not in received
    assert name.replace("_", "-") not in received
    refused = gateway.ask("GET", "/v1/load_lora_adapter", header)
    assert refused.status == 403
    assert passed(gateway) == []


def test_other_protocols_are_not_spoken(gateway: Gateway) -> None:
    passed(gateway)
    with socket.create_connection((LOOPBACK, gateway.ports.inference), 30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert not connection.recv(4096).startswith(b"\x00\x00")
    upgrade = gateway.ask("GET", "/v1/models", "Upgrade: websocket", "Connection: Upgrade")
    assert upgrade.status != 101
    assert gateway.ask("CONNECT", "127.0.0.1:8001").status in {400, 403, 404}
    assert gateway.ask("TRACE", "/v1/models").status in {400, 403}
    assert [path for _, path in passed(gateway) if path != "/v1/models"] == []


def test_a_request_cannot_hide_a_second_one(gateway: Gateway) -> None:
    passed(gateway)
    hidden = b"POST /v1/load_lora_adapter HTTP/1.1\r\nHost: pod\r\nContent-Length: 0\r\n\r\n"
    both = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: pod\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden
    )
    assert gateway.raw(both).status == 400
    pipelined = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: pod\r\nContent-Length: 0\r\n\r\n" + hidden
    )
    assert gateway.raw(pipelined).status == 200
    assert all(path == "/v1/chat/completions" for _, path in passed(gateway))


@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_sent_the_engine_sees_allowed_paths_only(gateway: Gateway, path: str) -> None:
    passed(gateway)
    for method in ("GET", "POST"):
        gateway.ask(method, f"/v1/{path}")
    for method, reached in passed(gateway):
        assert (method, reached.partition("?")[0]) in ALLOWED


def test_metrics_are_on_their_own_port_with_nothing_else(gateway: Gateway) -> None:
    passed(gateway)
    port = gateway.ports.metrics
    assert gateway.ask("GET", "/metrics", port=port).status == 200
    assert passed(gateway) == [*METRICS]
    assert gateway.ask("GET", "/healthz", port=port).status == 200
    for method, path in (*INFERENCE, ("POST", "/metrics"), ("GET", "/metrics/../tokenize")):
        assert gateway.ask(method, path, port=port).status == 403
    assert passed(gateway) == []


def test_the_admin_interface_is_not_on_the_pods_address(gateway: Gateway) -> None:
    config = json.loads(render_bootstrap(gateway.ports, idle_s=60))
    admin = config["admin"]["address"]["socket_address"]["address"]
    listeners = [
        each["address"]["socket_address"]["address"]
        for each in config["static_resources"]["listeners"]
    ]
    assert admin == "127.0.0.1"
    assert admin not in listeners


def test_a_stream_is_not_collected(gateway: Gateway) -> None:
    gateway.engine.go_on.clear()
    connection = http.client.HTTPConnection(LOOPBACK, gateway.ports.inference, timeout=60)
    connection.request("POST", "/v1/completions", body=b"{}")
    response = connection.getresponse()
    # The engine sends the rest only after this: a proxy that collected the answer would hang here.
    assert response.readline() == b"data: first\n"
    gateway.engine.go_on.set()
    assert response.read() == b"\ndata: last\n\n"
    connection.close()


def test_an_engine_that_is_down_gives_json_and_fails_the_probe(
    gateway: Gateway, tmp_path: Path
) -> None:
    ports = GatewayPorts(
        inference=free_port(), metrics=free_port(), engine=free_port(), admin=free_port()
    )
    config = tmp_path / "envoy.json"
    config.write_text(render_bootstrap(ports, idle_s=60, host=LOOPBACK))
    _, *arguments = envoy_command(str(config))
    command = [str(ROOT / ".venv-edge" / "bin" / "envoy"), *arguments]
    ready = f"http://{LOOPBACK}:{ports.metrics}/healthz"
    with running(command, log=tmp_path / "log", ready_url=ready):
        alone = Gateway(ports, gateway.engine)
        for method, path in (("GET", "/health"), ("POST", "/v1/chat/completions")):
            answer = alone.ask(method, path)
            assert answer.status == 503
            assert json.loads(answer.body)["error"]["type"] == "gateway_error"
            assert answer.headers[ENGINE_LOST.lower()] == "UF"


def test_an_engine_that_ends_before_it_answers_is_named_lost(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/v1/embeddings", "X-Test: end")
    assert (answer.status, answer.headers[ENGINE_LOST.lower()]) == (503, "UC")
    assert ENGINE_LOST.lower() not in gateway.ask("POST", "/v1/embeddings").headers
