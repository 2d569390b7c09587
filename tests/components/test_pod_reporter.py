"""The reporter of pods as Kubernetes objects, and how little it may ask."""

import pulumi_kubernetes as kubernetes
import pytest

from components.pod_reporter import PodReporter, PodReporterArgs
from components.pods import POD_IDENTITY, NetworkPeer
from serving.pod_reports.config import PodReportsConfig
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_RBAC = "kubernetes:rbac.authorization.k8s.io/v1:"
_CONFIG = PodReportsConfig(
    warehouse_uri="s3://warehouse", namespace="models", source="production-models"
)


@pytest.fixture(scope="module")
def program() -> Program:
    args = {
        "namespace": "pipeline",
        "image": "registry.example.com/serving@sha256:" + "0a" * 32,
        "config": _CONFIG,
        "egress": [POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)],
    }
    return declare(
        lambda: PodReporter(
            "pod-reports", PodReporterArgs(provider=kubernetes.Provider("cluster"), **args)
        )
    )


def test_every_object_is_one_that_kubernetes_takes(program: Program) -> None:
    objects = list(program.objects())
    for each in objects:
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)
    kinds = sorted(each.type.rpartition(":")[2] for each in objects)
    assert kinds == [
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "NetworkPolicy"),
        *("Role", "RoleBinding", "ServiceAccount"),
    ]


def test_it_may_read_pods_of_the_namespace_and_nodes_and_nothing_else(program: Program) -> None:
    role = program.one(f"{_RBAC}Role", "pod-reports").inputs
    nodes = program.one(f"{_RBAC}ClusterRole", "pod-reports").inputs
    assert role["metadata"]["namespace"] == "models"
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    assert nodes["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]


def test_the_roles_are_those_of_the_account_that_the_pod_has(program: Program) -> None:
    (account,) = program.of_type("kubernetes:core/v1:ServiceAccount")
    (deployment,) = program.of_type("kubernetes:apps/v1:Deployment")
    pod = deployment.inputs["spec"]["template"]["spec"]
    name = account.inputs["metadata"]["name"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (name, True)
    for kind in ("Role", "ClusterRole"):
        (binding,) = program.of_type(f"{_RBAC}{kind}Binding")
        assert binding.inputs["subjects"] == [
            {"kind": "ServiceAccount", "name": name, "namespace": "pipeline"}
        ]
        (role,) = program.of_type(f"{_RBAC}{kind}")
        assert binding.inputs["roleRef"] == {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": kind,
            "name": role.inputs["metadata"]["name"],
        }


def test_it_is_configured_as_it_was_told(program: Program) -> None:
    (config,) = program.of_type("kubernetes:core/v1:ConfigMap")
    read = PodReportsConfig.model_validate_json(config.inputs["data"]["config.json"])
    assert read == _CONFIG
    (deployment,) = program.of_type("kubernetes:apps/v1:Deployment")
    (container,) = deployment.inputs["spec"]["template"]["spec"]["containers"]
    assert container["command"][:3] == ["python", "-m", "serving.pod_reports"]
