"""A real node: pods that start, answer and end, under the rules that production sets."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from tests.cluster import images, workloads
from tests.cluster.client import Object, has_condition
from tests.cluster.node import DOMAIN, NAME, Node
from tests.cluster.storage import add_volumes
from tests.cluster.strict import apply_strict
from tests.cluster.workloads import NAMESPACE
from tools.setup.cluster import KUBERNETES

_AVAILABLE_S = 60
_PORT = 8080


@pytest.fixture(scope="module")
def serving(cluster: Node) -> str:
    """Reference of an image with the environment of the router."""
    return cluster.runtime.add(images.environment("serving", ".venv-serving"))


def test_the_node_is_ready_in_the_pinned_version(cluster: Node) -> None:
    node = cluster.client.get("v1", "Node", NAME)
    assert has_condition(node, "Ready")
    assert node["status"]["nodeInfo"]["kubeletVersion"] == KUBERNETES


def _web(image: str) -> list[Object]:
    command = ("python", "-m", "http.server", str(_PORT), "--directory", "/tmp")
    probe = {"httpGet": {"path": "/", "port": _PORT}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": _PORT}]
    specification = workloads.pod(image, command, readinessProbe=probe, ports=ports)
    return [
        workloads.namespace(),
        workloads.deployment("web", specification, replicas=2),
        workloads.service("web", _PORT),
    ]


def test_a_service_answers_at_its_address_and_by_its_names(cluster: Node, serving: str) -> None:
    objects = _web(serving)
    assert apply_strict(cluster.client, objects) == []
    cluster.client.wait(objects[1], lambda it: has_condition(it, "Available"), _AVAILABLE_S)
    address = cluster.client.get("v1", "Service", "web", NAMESPACE)["spec"]["clusterIP"]
    assert "Directory listing" in requests.get(f"http://{address}", timeout=10).text

    names = ("web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc.{DOMAIN}")
    script = (
        "import sys, urllib.request\n"
        "for name in sys.argv[1:]:\n"
        "    print(name, urllib.request.urlopen(f'http://{name}', timeout=10).status)\n"
    )
    asks = workloads.pod(serving, ("python", "-c", script, *names))
    printed = workloads.run_job(cluster, "asks-by-name", asks)
    assert printed.splitlines() == [f"{name} 200" for name in names]


def test_a_pod_runs_under_the_restrictions_it_declares(cluster: Node, serving: str) -> None:
    script = """
import json, os, pathlib
status = dict(
    line.split(":\\t") for line in pathlib.Path("/proc/self/status").read_text().splitlines()
)
try:
    pathlib.Path("/written").touch()
    written = True
except OSError:
    written = False
pathlib.Path("/tmp/scratch").touch()
keys = ("CapEff", "NoNewPrivs", "Seccomp")
print(json.dumps({"user": os.getuid(), "written": written, **{k: status[k] for k in keys}}))
"""
    specification = workloads.pod(serving, ("python", "-c", script))
    printed = workloads.run_job(cluster, "says-who-it-is", specification)
    assert json.loads(printed) == {
        "user": 65532,
        "written": False,
        "CapEff": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_a_pod_over_its_memory_is_killed(cluster: Node, serving: str) -> None:
    specification = workloads.pod(serving, ("python", "-c", "bytearray(400 * 2**20)"))
    thing = workloads.job("takes-too-much", specification)
    assert apply_strict(cluster.client, [workloads.namespace(), thing]) == []
    cluster.client.wait(thing, lambda found: has_condition(found, "Failed"), _AVAILABLE_S)
    (pod,) = (
        each
        for each in cluster.client.list("v1", "Pod", NAMESPACE)
        if each["metadata"]["labels"]["app"] == "takes-too-much"
    )
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "OOMKilled"


def test_an_image_of_another_digest_is_not_run(cluster: Node, serving: str) -> None:
    repository = serving.rpartition("@")[0]
    other = f"{repository}@sha256:{'0' * 64}"
    specification = workloads.pod(other, ("true",), imagePullPolicy="Never")
    thing = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other-image", "namespace": NAMESPACE},
        "spec": specification,
    }
    assert apply_strict(cluster.client, [workloads.namespace(), thing]) == []

    def waits(found: Object) -> bool:
        statuses = found["status"].get("containerStatuses", [])
        return any("ErrImageNeverPull" in str(each["state"]) for each in statuses)

    cluster.client.wait(thing, waits, _AVAILABLE_S)
    cluster.client.delete(thing)


def test_a_pod_with_a_token_asks_the_api_within_its_role(cluster: Node, serving: str) -> None:
    script = """
from kubernetes import client, config
config.load_incluster_config()
api = client.CoreV1Api()
print(api.read_namespaced_config_map("tenant", "on-node").data["domain"])
try:
    api.list_secret_for_all_namespaces()
except client.ApiException as error:
    print(error.status)
"""
    names = {"name": "watcher", "namespace": NAMESPACE}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    objects: list[Object] = [
        workloads.namespace(),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": names},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "tenant", "namespace": NAMESPACE},
            "data": {"domain": "bank-ledger"},
        },
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": names, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": names,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "watcher"},
            "subjects": [{"kind": "ServiceAccount", **names}],
        },
    ]
    assert apply_strict(cluster.client, objects) == []
    specification = workloads.pod(serving, ("python", "-c", script))
    specification["serviceAccountName"] = "watcher"
    printed = workloads.run_job(cluster, "asks-the-api", specification)
    assert printed.split() == ["bank-ledger", "403"]


def test_what_a_pod_writes_to_its_claim_the_next_one_reads(
    cluster: Node, serving: str, tmp_path: Path
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "ledger", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "20Gi"}},
        },
    }
    add_volumes(cluster.client, tmp_path, 1)
    assert apply_strict(cluster.client, [workloads.namespace(), claim]) == []

    def run(name: str, script: str) -> str:
        specification = workloads.pod(serving, ("python", "-c", script))
        (main,) = specification["containers"]
        main["volumeMounts"].append({"name": "ledger", "mountPath": "/var/lib/ledger"})
        specification["volumes"].append(
            {"name": "ledger", "persistentVolumeClaim": {"claimName": "ledger"}}
        )
        return workloads.run_job(cluster, name, specification)

    run("writes", "open('/var/lib/ledger/segment', 'w').write('usage')")
    assert run("reads", "print(open('/var/lib/ledger/segment').read())") == "usage\n"


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        (".venv-edge", ("envoy", "--version")),
        (".venv-mlflow", ("mlflow", "--version")),
        (".venv-vllm", ("python", "-c", "import torch; print(torch.__version__)")),
        (".venv", ("pipeline", "--help")),
    ],
)
def test_each_environment_runs_in_a_pod(cluster: Node, folder: str, command: Sequence[str]) -> None:
    name = f"environment{folder.replace('.venv', '')}"
    reference = cluster.runtime.add(images.environment(name, folder))
    specification = workloads.pod(reference, command, resources=workloads.resources("2Gi"))
    assert workloads.run_job(cluster, name, specification).strip()
