"""The exporter and the sampler as Kubernetes objects."""

import json
from dataclasses import replace

import pulumi_kubernetes as kubernetes
import pytest

from components.background_service import BackgroundService, BackgroundServiceArgs, Scraping
from components.pods import POD_IDENTITY, NetworkPeer, PodPeer, Resources
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_COMPONENT = "pipeline:kubernetes:BackgroundService"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_MONITOR = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
_EVERY = {
    _COMPONENT: 1,
    "kubernetes:core/v1:ServiceAccount": 1,
    _CONFIG_MAP: 1,
    _POLICY: 1,
    _DEPLOYMENT: 1,
}
_CONFIG = {
    "listen": {"host": "0.0.0.0", "port": 9300},
    "registry_uri": "s3://registry",
    "warehouse_uri": "s3://warehouse",
}


def _args() -> BackgroundServiceArgs:
    return BackgroundServiceArgs(
        provider=kubernetes.Provider("cluster"),
        namespace="pipeline",
        service="pipeline-exporter",
        image="registry.example.com/serving@sha256:" + "0a" * 32,
        module="serving.exporter",
        config=json.dumps(_CONFIG),
        resources=Resources(cpu="50m", memory="256Mi", scratch="64Mi"),
        egress=[POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)],
        scraping=Scraping(
            prometheus=PodPeer(namespace="monitoring", labels={"app": "prometheus"}, port=9300),
            monitor_labels={"release": "prometheus"},
        ),
    )


@pytest.fixture(scope="module")
def program() -> Program:
    return declare(lambda: BackgroundService("exporter", _args()))


def test_declares_what_it_needs_and_nothing_else(program: Program) -> None:
    assert program.counts() == {**_EVERY, _MONITOR: 1}
    for each in program.objects():
        assert each.parent == _COMPONENT
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)


def test_without_metrics_nobody_may_reach_it() -> None:
    program = declare(lambda: BackgroundService("sampler", replace(_args(), scraping=None)))
    assert program.counts() == _EVERY
    assert program.one(_POLICY, "sampler").inputs["spec"]["ingress"] == []
    (container,) = program.one(_DEPLOYMENT, "sampler").inputs["spec"]["template"]["spec"][
        "containers"
    ]
    assert (container["ports"], container.get("readinessProbe")) == ([], None)


def test_another_configuration_is_another_object_that_the_pod_follows(program: Program) -> None:
    config = program.one(_CONFIG_MAP, "exporter")
    assert config.inputs["immutable"] is True
    assert "name" not in config.inputs["metadata"]
    assert json.loads(config.inputs["data"]["config.json"]) == _CONFIG
    pod = program.one(_DEPLOYMENT, "exporter").inputs["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "config")
    # The name that Kubernetes gives it, not one that is written here.
    assert volume["configMap"]["name"].startswith("exporter-")
    assert pod["containers"][0]["command"] == [
        *("python", "-m", "serving.exporter"),
        *("--config", "/etc/pipeline/config.json"),
    ]


def test_prometheus_finds_the_port_and_may_reach_it(program: Program) -> None:
    spec = program.one(_DEPLOYMENT, "exporter").inputs["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    monitor = program.one(_MONITOR, "exporter").inputs
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert [port["name"] for port in container["ports"]] == [endpoint["port"]]
    labels = spec["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (rule,) = program.one(_POLICY, "exporter").inputs["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": container["ports"][0]["containerPort"]}]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


def test_refuses_an_image_without_a_digest() -> None:
    def build() -> None:
        with pytest.raises(ValueError, match=r"pipeline-exporter: image 'serving:v1' is not named"):
            BackgroundService("exporter", replace(_args(), image="serving:v1"))

    declare(build)
