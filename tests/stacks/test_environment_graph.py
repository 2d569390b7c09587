"""The whole graph of every environment that is shipped, and of generated ones."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from stacks.config.load import ClusterStack
from stacks.contract import parse_contract
from stacks.paths import PROJECT, ROOT
from stacks.programs.cluster import environment
from tests.components.declared import declare
from tests.stacks import graph_rules as rules
from tests.stacks.environments import (
    DRAWS,
    OPTIONS,
    SECRETS,
    SHIPPED,
    Engine,
    Graph,
    cluster_stack,
    declare_environment,
    drawn,
    generated,
    raw,
    shipped,
)
from tests.stacks.seals import SEALS, seal

STACKS = (*SHIPPED, *(f"generated-{number}" for number in range(DRAWS)))


@pytest.fixture(scope="module")
def seals() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(SEALS.read_text())
    return found


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest) -> ClusterStack:
    name: str = request.param
    return cluster_stack(raw(name) if name in SHIPPED else generated(int(name.rpartition("-")[2])))


@pytest.fixture(scope="module")
def graph(stack: ClusterStack) -> Graph:
    return shipped(stack.name) if stack.name in SHIPPED else declare_environment(stack)


@pytest.mark.parametrize(
    "rule",
    [
        rules.shared_names,
        rules.long_names,
        rules.unbounded,
        rules.unprobed,
        rules.privileged,
        rules.wrong_accounts,
        rules.unguarded,
        rules.movable_images,
        rules.malformed,
    ],
    ids=lambda rule: rule.__name__.replace("_", " "),
)
def test_nothing_breaks_a_rule(graph: Graph, rule: Any) -> None:
    assert rules.pods(graph.program), "there is nothing that the rule could be about"
    assert not rule(graph.program)


def test_everything_in_the_account_is_tagged(stack: ClusterStack, graph: Graph) -> None:
    config = stack.environment
    ours = {"environment": config.name, "project": PROJECT, "managed-by": "pulumi"}
    assert not rules.untagged(graph.program, {**config.tags, **ours})


def test_no_secret_is_in_plain_text(graph: Graph) -> None:
    assert not rules.leaks(graph.program, SECRETS)
    assert not list(rules.leaked(graph.exports, SECRETS))


def test_domain_stacks_can_read_the_contract(stack: ClusterStack, graph: Graph) -> None:
    contract = parse_contract(graph.exports["contract"], stack.name)
    assert set(contract.pools) == set(stack.environment.served)
    assert contract.adapter_pools == stack.environment.adapter_pools
    in_aws = stack.environment.cluster.kind == "eks"
    assert contract.kubernetes is not None
    assert (contract.kubernetes.aws is not None) == in_aws


def test_each_pool_of_the_phase_is_served_and_no_other(stack: ClusterStack, graph: Graph) -> None:
    served = {
        each.name for each in graph.program.resources if each.type == "pipeline:serving:ModelPool"
    }
    assert {pool for pool in stack.environment.pools if any(pool in name for name in served)} == (
        set(stack.environment.served)
    )


def test_kinds_of_operators_that_are_off_are_not_declared(
    stack: ClusterStack, graph: Graph
) -> None:
    groups = {
        "gateway-api": "gateway.networking.k8s.io",
        "kgateway": "gateway.kgateway.dev",
        "keda": "keda.sh",
        "prometheus": "monitoring.coreos.com",
        "external-secrets": "external-secrets.io",
    }
    there = stack.environment.operators.there()
    for operator, group in groups.items():
        if operator not in there:
            declared = [
                each.name
                for each in rules.objects(graph.program)
                if each.type.startswith(f"kubernetes:{group}/")
            ]
            assert not declared, f"{operator} is off"


def test_prometheus_reads_the_whole_request_path(stack: ClusterStack, graph: Graph) -> None:
    config = stack.environment
    monitors = {
        each.inputs["metadata"]["name"]
        for each in graph.program.of_type("kubernetes:monitoring.coreos.com/v1:PodMonitor")
    }
    path = {"router", *(f"vllm-{pool}" for pool in config.served)}
    if config.gateway.kind == "bifrost":
        path.add("bifrost")
    assert monitors & path == (set() if config.operators.prometheus == "off" else path)


def test_what_an_edge_that_is_off_loses_is_said(stack: ClusterStack, graph: Graph) -> None:
    said = "there is no edge: no TLS, no routes; the router is reached by its Service only"
    assert (said in graph.warnings) == (stack.environment.operators.gateway_api == "off")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_stack_is_what_it_was(name: str, seals: Mapping[str, Any]) -> None:
    """See tests/stacks/seals.py for what to do when it is meant to be another."""
    assert seal(name) == seals[name]


def test_every_shipped_environment_is_tested() -> None:
    files = {path.name for path in (ROOT / "stacks").glob("Pulumi.*.yaml")}
    on_clusters = {
        name
        for name in (each.removeprefix("Pulumi.").removesuffix(".yaml") for each in files)
        if raw(name)["pipeline:kind"] == "environment"
        and raw(name)["pipeline:environment"]["cluster"]["kind"] != "local"
    }
    assert on_clusters == set(SHIPPED)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_value_of_an_option_comes_up(option: str) -> None:
    assert {drawn(number)[option] for number in range(DRAWS)} == set(OPTIONS[option])


def test_production_refuses_charts_without_a_digest() -> None:
    stack = cluster_stack(raw("prod"))
    with pytest.raises(pulumi.RunError) as refused:
        # Not with the stand-in for the lock: that of the project.
        declare(lambda: environment.run(stack), stack="prod", engine=Engine())
    assert "charts.lock.yaml: " in str(refused.value)
    assert "no digest, which production needs; run `pipeline charts lock`" in str(refused.value)
