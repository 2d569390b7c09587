"""Who reaches whom in a whole environment, by its NetworkPolicies.

Policies are read as Kubernetes reads them: a connection needs a rule of the one and of the other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from components.edge import EDGE_LABELS
from components.pods import NAME_LABEL
from stacks.config.load import ClusterStack, load
from stacks.paths import ROOT
from stacks.programs.cluster import environment
from stacks.programs.cluster.context import OPERATIONS, SERVING, TRAINING
from tests.components.declared import Program, declare
from tests.stacks.cluster.world import IMAGES

_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_TEMPLATES = {
    "kubernetes:apps/v1:Deployment": ("template",),
    "kubernetes:apps/v1:StatefulSet": ("template",),
    "kubernetes:batch/v1:CronJob": ("jobTemplate", "spec", "template"),
}
_STEPS = ("dataset", "train", "publish", "evaluate", "release")
_INFERENCE, _STATUS, _METRICS, _ROUTER = 8000, 8084, 9100, 8080


@dataclass(frozen=True)
class Pods:
    """Pods of one workload."""

    namespace: str
    name: str
    labels: Mapping[str, str]


_MLFLOW_USERS = Pods(OPERATIONS, "mlflow-users", {NAME_LABEL: "mlflow-users"})


@cache
def _environment() -> Program:
    stack = load(ROOT / "stacks", "dev")
    assert isinstance(stack, ClusterStack)
    config = stack.environment.model_copy(update={"images": IMAGES})
    return declare(
        lambda: environment.run(ClusterStack(stack.name, config)),
        answers={"aws:secretsmanager/getSecret:getSecret": lambda asked: {"name": asked["name"]}},
        stack="dev",
    )


def _pods() -> Iterator[Pods]:
    for each in _environment().resources:
        if each.type not in _TEMPLATES:
            continue
        template = each.inputs["spec"]
        for key in _TEMPLATES[each.type]:
            template = template[key]
        metadata = each.inputs["metadata"]
        yield Pods(metadata["namespace"], metadata["name"], template["metadata"]["labels"])
    # Jobs are the domain stacks', gateway pods kgateway's.
    yield _MLFLOW_USERS
    for step in _STEPS:
        yield Pods(TRAINING, f"job-{step}", {NAME_LABEL: f"job-{step}"})
    yield Pods(SERVING, "edge", EDGE_LABELS)


def _rules(pods: Pods, direction: str) -> Iterator[Mapping[str, Any]]:
    for each in _environment().of_type(_POLICY):
        spec, namespace = each.inputs["spec"], each.inputs["metadata"]["namespace"]
        if namespace == pods.namespace and _selects(spec["podSelector"], pods.labels):
            assert direction.capitalize() in spec["policyTypes"], each.name
            yield from spec.get(direction, ())


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


def _is_peer(peer: Mapping[str, Any], pods: Pods) -> bool:
    if "ipBlock" in peer:
        return False
    namespace = peer["namespaceSelector"]["matchLabels"]
    return namespace == {"kubernetes.io/metadata.name": pods.namespace} and _selects(
        peer["podSelector"], pods.labels
    )


def _ports(rules: Iterator[Mapping[str, Any]], peers: str, other: Pods) -> set[int]:
    return {
        int(port["port"])
        for rule in rules
        for port in rule["ports"]
        # A rule that names nobody is for everybody.
        if peers not in rule or any(_is_peer(peer, other) for peer in rule[peers])
    }


def _sends(source: Pods, target: Pods) -> set[int]:
    return _ports(_rules(source, "egress"), "to", target)


def _takes(source: Pods, target: Pods) -> set[int]:
    return _ports(_rules(target, "ingress"), "from", source)


def test_whoever_may_reach_out_is_let_in() -> None:
    for source in _pods():
        for target in _pods():
            refused = _sends(source, target) - _takes(source, target)
            assert not refused, (source.name, target.name, refused)


def test_few_reach_a_model_server() -> None:
    (servers,) = (each for each in _pods() if each.name == "vllm-slm")
    reach = {each.name: _sends(each, servers) & _takes(each, servers) for each in _pods()}
    assert {name: ports for name, ports in reach.items() if ports} == {
        "router": {_INFERENCE, _STATUS},
        "job-evaluate": {_INFERENCE},
        "pipeline-sampler": {_STATUS, _METRICS},
    }


def test_the_router_takes_requests_of_the_edge_and_shows_its_counters_to_the_sampler() -> None:
    (router,) = (each for each in _pods() if each.name == "router")
    takes = {each.name for each in _pods() if _ROUTER in _takes(each, router)}
    assert takes == {"edge", "pipeline-sampler"}


def test_jobs_reach_no_api_of_the_cluster_and_nobody_reaches_them() -> None:
    for step in _STEPS:
        job = Pods(TRAINING, f"job-{step}", {NAME_LABEL: f"job-{step}"})
        networks = [
            peer["ipBlock"]["cidr"]
            for rule in _rules(job, "egress")
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        # The VPC, by HTTPS, and the agent of Pod Identity.
        assert networks == ["10.20.0.0/18", "169.254.170.23/32"], step
        assert not any(_takes(each, job) for each in _pods())


def test_jobs_that_make_users_of_mlflow_reach_nothing_else() -> None:
    reach = {each.name for each in _pods() if _sends(_MLFLOW_USERS, each)}
    assert reach == {"mlflow"}
    assert not any(_takes(each, _MLFLOW_USERS) for each in _pods())
    # DNS, and the server: no network.
    assert not any(
        "ipBlock" in peer for rule in _rules(_MLFLOW_USERS, "egress") for peer in rule["to"]
    )
