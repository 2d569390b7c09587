"""Objects that the tests of the node apply: restricted, as the project's own are."""

from collections.abc import Sequence
from typing import Any

from tests.cluster.client import Object, has_condition
from tests.cluster.node import Node
from tests.cluster.strict import apply_strict

NAMESPACE = "on-node"
_USER = 65532
_JOB_S = 120


def namespace() -> Object:
    """A namespace that takes restricted pods only."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": labels},
    }


def resources(memory: str) -> Object:
    """Requests and limits of a container; the processor is not limited."""
    held = {"memory": memory, "ephemeral-storage": "64Mi"}
    return {"requests": {"cpu": "50m", **held}, "limits": held}


def pod(image: str, command: Sequence[str], **container: Any) -> dict[str, Any]:
    """Specification of a pod of one container that passes the `restricted` standard."""
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": list(command),
                "resources": resources("256Mi"),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
                **container,
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def job(name: str, specification: dict[str, Any]) -> Object:
    """A Job that is not tried again."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {**specification, "restartPolicy": "Never"},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": template},
    }


def deployment(name: str, specification: dict[str, Any], replicas: int) -> Object:
    """A Deployment whose pods carry the label `app`."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": specification},
        },
    }


def service(name: str, port: int) -> Object:
    """A Service in front of the pods with the label `app`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]},
    }


def run_job(cluster: Node, name: str, specification: dict[str, Any]) -> str:
    """Run a Job to its end; return what it printed.

    Raises:
        AssertionError: It failed, or was refused.
    """
    assert apply_strict(cluster.client, [namespace()]) == []
    thing = job(name, specification)
    assert apply_strict(cluster.client, [thing]) == []
    ended = cluster.client.wait(
        thing,
        lambda found: has_condition(found, "Complete") or has_condition(found, "Failed"),
        _JOB_S,
    )
    printed = cluster.client.log(NAMESPACE, f"app={name}")
    assert has_condition(ended, "Complete"), f"{printed}\n{_containers(cluster, name)}"
    return printed


def _containers(cluster: Node, name: str) -> list[Any]:
    """States of the containers of pods with a label `app`, for messages."""
    return [
        status["state"]
        for pod in cluster.client.list("v1", "Pod", NAMESPACE)
        if pod["metadata"].get("labels", {}).get("app") == name
        for status in pod["status"].get("containerStatuses", [])
    ]
