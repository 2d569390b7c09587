"""The exporter as Kubernetes objects."""

import json

import pulumi_kubernetes as kubernetes
import pytest

from components.exporter import Exporter, ExporterArgs
from components.pods import POD_IDENTITY, NetworkPeer, PodPeer
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_COMPONENT = "pipeline:observability:Exporter"
_CONFIG = {
    "listen": {"host": "0.0.0.0", "port": 9300},
    "registry_uri": "s3://registry",
    "warehouse_uri": "s3://warehouse",
}


@pytest.fixture(scope="module")
def program() -> Program:
    def build() -> None:
        args = ExporterArgs(
            provider=kubernetes.Provider("cluster"),
            namespace="pipeline",
            image="registry.example.com/serving@sha256:" + "0a" * 32,
            config=json.dumps(_CONFIG),
            port=9300,
            egress=[POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)],
            prometheus=PodPeer(namespace="monitoring", labels={"app": "prometheus"}, port=9300),
            monitor_labels={"release": "prometheus"},
        )
        Exporter("exporter", args)

    return declare(build)


def test_declares_what_it_needs_and_nothing_else(program: Program) -> None:
    assert program.counts() == {
        _COMPONENT: 1,
        "kubernetes:core/v1:ServiceAccount": 1,
        "kubernetes:core/v1:ConfigMap": 1,
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 1,
        "kubernetes:apps/v1:Deployment": 1,
        "kubernetes:monitoring.coreos.com/v1:PodMonitor": 1,
    }
    for each in program.objects():
        assert each.parent == _COMPONENT
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)


def test_another_configuration_is_another_object_that_the_pod_follows(program: Program) -> None:
    config = program.one("kubernetes:core/v1:ConfigMap", "exporter")
    assert config.inputs["immutable"] is True
    assert "name" not in config.inputs["metadata"]
    assert json.loads(config.inputs["data"]["exporter.json"]) == _CONFIG
    deployment = program.one("kubernetes:apps/v1:Deployment", "exporter")
    pod = deployment.inputs["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "config")
    # The name that Kubernetes gives it, not one that is written here.
    assert volume["configMap"]["name"].startswith("exporter-")
    assert pod["containers"][0]["command"][-1] == "/etc/pipeline/exporter.json"


def test_prometheus_finds_the_port_and_may_reach_it(program: Program) -> None:
    deployment = program.one("kubernetes:apps/v1:Deployment", "exporter")
    template = deployment.inputs["spec"]["template"]
    (container,) = template["spec"]["containers"]
    monitor = program.one("kubernetes:monitoring.coreos.com/v1:PodMonitor", "exporter")
    (endpoint,) = monitor.inputs["spec"]["podMetricsEndpoints"]
    assert [port["name"] for port in container["ports"]] == [endpoint["port"]]
    labels = template["metadata"]["labels"]
    assert monitor.inputs["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert deployment.inputs["spec"]["selector"]["matchLabels"].items() <= labels.items()
    policy = program.one("kubernetes:networking.k8s.io/v1:NetworkPolicy", "exporter")
    (rule,) = policy.inputs["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": container["ports"][0]["containerPort"]}]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }
