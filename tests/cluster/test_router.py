"""The router's objects and cluster-watch against a real API server.

No controller runs: EndpointSlices are what the test says, and pods are only admitted.
"""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.processes import ROOT, free_port, python
from serving.cluster_watch.config import tenancy_name
from serving.pool_servers import PoolServers
from stacks.config.router import RouterOptions
from tests.cluster.api_server import ApiServer
from tests.cluster.client import Client, Object
from tests.cluster.objects import objects_of
from tests.cluster.strict import apply_strict
from tests.components.declared import Program
from tests.stacks.router_program import router_program

NAMESPACE = "agentic-serving"
WAIT_S = 30


@pytest.fixture(scope="module")
def program() -> Program:
    return router_program(RouterOptions())


@pytest.fixture(scope="module")
def namespace(server: ApiServer) -> str:
    """A namespace that takes no pod but restricted ones."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    thing = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": labels},
    }
    assert apply_strict(server.client, [thing]) == []
    return NAMESPACE


def test_the_api_server_takes_every_object(
    server: ApiServer, namespace: str, program: Program
) -> None:
    objects = objects_of(program)
    assert {each["metadata"]["namespace"] for each in objects} == {namespace}
    assert apply_strict(server.client, objects) == []


def test_a_pod_of_the_router_is_admitted_as_restricted(
    server: ApiServer, namespace: str, program: Program
) -> None:
    assert apply_strict(server.client, objects_of(program)) == []
    (stateful_set,) = (each for each in objects_of(program) if each["kind"] == "StatefulSet")
    template = stateful_set["spec"]["template"]
    claim = {"name": "ledger", "persistentVolumeClaim": {"claimName": "ledger-router-0"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "router-0", "namespace": namespace},
        "spec": {**template["spec"], "volumes": [*template["spec"]["volumes"], claim]},
    }
    taken = server.client.apply(pod, dry_run=True)
    # The server's own fields did not take anything away from what was asked.
    assert [each["name"] for each in taken["spec"]["initContainers"]] == [
        "cluster-watch",
        "shipper",
    ]
    assert {each["restartPolicy"] for each in taken["spec"]["initContainers"]} == {"Always"}


@dataclass(frozen=True)
class Watch:
    """A cluster-watch that runs as the router's ServiceAccount."""

    folder: Path
    log: Path
    port: int

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def domains(self) -> set[str]:
        return {path.stem for path in (self.folder / "domains").glob("*.json")}

    def servers(self) -> list[tuple[str, str]] | None:
        path = self.folder / "pools" / "slm.json"
        if not path.exists():
            return None
        found = PoolServers.model_validate_json(path.read_bytes()).servers
        return [(each.pod, each.base_url) for each in found]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}; log: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)


@pytest.fixture
def watch(server: ApiServer, namespace: str, program: Program, tmp_path: Path) -> Iterator[Watch]:
    assert apply_strict(server.client, objects_of(program)) == []
    port = free_port()
    config = {
        "namespace": namespace,
        "pools": {"slm": "vllm-slm-pods"},
        "domains_dir": str(tmp_path / "domains"),
        "pools_dir": str(tmp_path / "pools"),
        "listen": {"port": port},
        "watch_s": 5,
        "kubeconfig": str(_kubeconfig(server, tmp_path)),
    }
    file, log = tmp_path / "cluster-watch.json", tmp_path / "log"
    file.write_text(json.dumps(config))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [python(".venv-serving"), "-m", "serving.cluster_watch", "--config", str(file)],
            cwd=ROOT,
            stderr=stream,
            env={key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        )
    yield Watch(tmp_path, log, port)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WAIT_S) == 0


def _kubeconfig(server: ApiServer, folder: Path) -> Path:
    """A kubeconfig with a token of the router's ServiceAccount, as its pods are given."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/router/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = server.client.request("POST", path, json=request).json()["status"]["token"]
    values = yaml.safe_load(server.kubeconfig().read_text())
    values["users"][0]["user"] = {"token": token}
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(values))
    return file


def _record(domain: str) -> dict[str, Any]:
    """The ConfigMap that a domain stack makes."""
    values = {
        "schema": 1,
        "domain": domain,
        "customer": f"customer of {domain}",
        "key_hashes": [f"sha256:{'0a' * 32}"],
        "pools": ["slm"],
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": tenancy_name(domain),
            "namespace": NAMESPACE,
            "labels": {"custom-model-pipeline/tenancy": "true"},
        },
        "data": {"record.json": json.dumps(values)},
    }


def _slice(*pods: tuple[str, str, bool]) -> dict[str, Any]:
    """An EndpointSlice as the controller makes one: name, address and readiness of each pod."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "vllm-slm-pods-k2x9f",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": "vllm-slm-pods"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod, "namespace": NAMESPACE},
            }
            for pod, address, ready in pods
        ],
        "ports": [
            {"name": "http", "port": 8000, "protocol": "TCP"},
            {"name": "adapter-sync", "port": 8090, "protocol": "TCP"},
        ],
    }


def _put(client: Client, thing: Object) -> None:
    assert apply_strict(client, [thing]) == []


def test_domains_and_pods_come_and_go_as_the_api_server_says(
    server: ApiServer, watch: Watch
) -> None:
    client = server.client
    watch.until(lambda: watch.servers() == [], "nothing is there yet")
    _put(client, _record("bank-ledger"))
    _put(client, _slice(("vllm-slm-a", "10.0.0.1", True), ("vllm-slm-b", "10.0.0.2", False)))
    watch.until(lambda: watch.domains() == {"bank-ledger"}, "the record is written")
    watch.until(
        lambda: watch.servers() == [("vllm-slm-a", "http://10.0.0.1:8000")], "one pod is ready"
    )
    # What comes next is seen by a later watch; that the first one ended is no failure.
    listed = 'cluster_watch_listed_timestamp_seconds{kind="endpoint slices"}'
    before = watch.metrics()[listed]
    watch.until(lambda: watch.metrics()[listed] > before, "everything is listed again")
    assert not [name for name in watch.metrics() if name.startswith("cluster_watch_failures_t")]
    _put(client, _record("stock-order"))
    _put(client, _slice(("vllm-slm-b", "10.0.0.2", True)))
    watch.until(lambda: watch.domains() == {"bank-ledger", "stock-order"}, "another domain")
    watch.until(
        lambda: watch.servers() == [("vllm-slm-b", "http://10.0.0.2:8000")], "the other is ready"
    )
    for domain in ("bank-ledger", "stock-order"):
        client.delete(_record(domain))
    client.delete(_slice())
    watch.until(lambda: watch.domains() == set(), "no domain is left")
    watch.until(lambda: watch.servers() == [], "no pod is left")
