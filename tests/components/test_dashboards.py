"""Dashboards and rules as Kubernetes objects."""

import json
from pathlib import Path

import pulumi_kubernetes as kubernetes
import pytest

from components.dashboards import Dashboards, DashboardsArgs
from observability import export
from serving.billing.prices import read_prices
from stacks.paths import ROOT
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_RULE = "kubernetes:monitoring.coreos.com/v1:PrometheusRule"
_COMPONENT = "pipeline:observability:Dashboards"
_MAX_OBJECT = 1024 * 1024
"""Bytes that a ConfigMap may hold."""


@pytest.fixture(scope="module")
def program() -> Program:
    prices = read_prices(ROOT / "stacks" / "prices.yaml")
    texts = export.dashboard_texts(prices.currency)

    def build() -> None:
        args = DashboardsArgs(
            provider=kubernetes.Provider("cluster"),
            namespace="monitoring",
            dashboards=texts,
            rules=export.rules(prices),
            rule_labels={"release": "prometheus"},
        )
        Dashboards("observability", args)

    return declare(build)


def test_declares_one_config_map_a_dashboard_and_one_rule_object(program: Program) -> None:
    assert program.counts() == {_COMPONENT: 1, _CONFIG_MAP: 5, _RULE: 1}


def test_every_object_has_the_component_as_parent_and_the_given_provider(program: Program) -> None:
    for each in program.objects():
        assert each.parent == _COMPONENT
        assert "::cluster::" in each.provider


def test_every_object_fits_its_schema(program: Program) -> None:
    for each in program.objects():
        kubernetes_schema.check(each.type, each.inputs)


def test_grafanas_sidecar_finds_each_dashboard(program: Program) -> None:
    for each in program.of_type(_CONFIG_MAP):
        assert each.inputs["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = each.inputs["data"].items()
        uid = json.loads(text)["uid"]
        assert (file, each.inputs["metadata"]["name"]) == (f"{uid}.json", uid)
        assert len(text.encode()) < _MAX_OBJECT


def test_the_rules_are_those_of_the_exported_file(program: Program, tmp_path: Path) -> None:
    (rule,) = program.of_type(_RULE)
    assert rule.inputs["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule.inputs["metadata"]["labels"]["release"] == "prometheus"
    names = [group["name"] for group in rule.inputs["spec"]["groups"]]
    assert names == [
        "pipeline-recording",
        "pipeline-router",
        "pipeline-model-servers",
        "pipeline-billing",
    ]
    prices = read_prices(ROOT / "stacks" / "prices.yaml")
    assert rule.inputs["spec"] == export.rules(prices)


def test_registers_what_it_made(program: Program) -> None:
    made = program.outputs[f"{_COMPONENT}::observability"]["dashboards"]
    assert made == sorted(each.inputs["metadata"]["name"] for each in program.of_type(_CONFIG_MAP))
