"""The edge as Kubernetes objects, composed from configuration."""

from typing import Any

import pulumi_kubernetes as kubernetes
import pytest

from components.edge import EDGE_LABELS
from components.object_store import ObjectStoreAccess
from components.pods import PodPeer
from serving.edge import kgateway
from serving.edge.kgateway import (
    DirectResponseSpec,
    GatewayParametersSpec,
    ListenerPolicySpec,
    TrafficPolicySpec,
)
from serving.edge.policies import Bucket, domain_policy
from serving.edge.routes import http_route
from stacks.config.edge import EdgeConfig
from stacks.config.images import Images
from stacks.operators import Operator
from stacks.programs.cluster.context import Aws, Cluster
from stacks.programs.cluster.edge import (
    EdgeOutputs,
    RouterAddress,
    declare_edge,
    edge_pods,
)
from tests.components import kubernetes_schema
from tests.components.declared import Declared, Program, declare

_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_GATEWAY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
_ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
_TRAFFIC = "kubernetes:gateway.kgateway.dev/v1alpha1:TrafficPolicy"
_LISTENER = "kubernetes:gateway.kgateway.dev/v1alpha1:ListenerPolicy"
_PARAMETERS = "kubernetes:gateway.kgateway.dev/v1alpha1:GatewayParameters"
_ANSWER = "kubernetes:gateway.kgateway.dev/v1alpha1:DirectResponse"
_CERTIFICATE = "kubernetes:cert-manager.io/v1:Certificate"
_EXTERNAL = "kubernetes:external-secrets.io/v1:ExternalSecret"
_MODELS = {
    _TRAFFIC: TrafficPolicySpec,
    _LISTENER: ListenerPolicySpec,
    _PARAMETERS: GatewayParametersSpec,
    _ANSWER: DirectResponseSpec,
}
_IMAGE = "registry.example.com/image@sha256:" + "0a" * 32
_CLUSTER: frozenset[Operator] = frozenset({"gateway-api", "kgateway", "external-secrets"})
_OTHER: frozenset[Operator] = frozenset({"gateway-api"})
_ISSUED = {"kind": "cert-manager", "issuer": "ca"}
_BASE = {
    "hostname": "llm.bank.example",
    "tls": _ISSUED,
    "load_balancer": {"source_ranges": ["10.0.0.0/8"]},
}
_OTHER_GATEWAY = {
    "gateway_class": "cilium",
    "gateway_pods": {"namespace": "kube-system", "labels": {"k8s-app": "cilium-envoy"}},
}


def _cluster(operators: frozenset[Operator], *, is_aws: bool = False) -> Cluster:
    provider = kubernetes.Provider("cluster")
    return Cluster(
        environment="prod",
        kubernetes=provider,
        # Only whether there is an account counts here.
        aws=Aws.__new__(Aws) if is_aws else None,
        images=Images.model_validate(dict.fromkeys(Images.model_fields, _IMAGE)),
        operators=operators,
        api_server="10.0.0.1/32",
        object_store=ObjectStoreAccess(),
        tags={},
    )


def _router() -> RouterAddress:
    pods = PodPeer(
        namespace="agentic-serving", labels={"app.kubernetes.io/name": "router"}, port=8080
    )
    return RouterAddress(service="router", port=8080, pods=pods, max_body_mib=2)


def _declare(
    operators: frozenset[Operator] = _CLUSTER, *, is_aws: bool = False, **changes: Any
) -> tuple[Program, EdgeOutputs]:
    config = EdgeConfig.model_validate({**_BASE, **changes})
    found: list[EdgeOutputs] = []

    def build() -> None:
        found.append(declare_edge(config, _cluster(operators, is_aws=is_aws), _router()))

    return declare(build), found[0]


def _spec(program: Program, type_: str) -> dict[str, Any]:
    (only,) = program.of_type(type_)
    return dict(only.inputs["spec"])


def _as_written(each: Declared) -> dict[str, Any]:
    """Pulumi's protocol has one kind of number."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return int(value) if isinstance(value, float) else value

    return {**each.inputs, "spec": whole(each.inputs["spec"])}


@pytest.fixture(scope="module")
def program() -> Program:
    return _declare(plain_http="redirect")[0]


def test_declares_what_it_needs_and_nothing_else(program: Program) -> None:
    assert program.counts() == {
        "pipeline:edge:Edge": 1,
        _POLICY: 1,
        _CERTIFICATE: 1,
        _GATEWAY: 1,
        _ROUTE: 2,
        _ANSWER: 1,
        _PARAMETERS: 1,
        _TRAFFIC: 2,
        _LISTENER: 1,
    }
    for each in program.objects():
        assert each.parent == "pipeline:edge:Edge"
        if each.type == _POLICY:
            kubernetes_schema.check(each.type, each.inputs)
        else:
            assert set(each.inputs) == {"apiVersion", "kind", "metadata", "spec"}
            assert each.inputs["metadata"]["namespace"] == "agentic-serving"
        if each.type in _MODELS:
            # No field, and no value, that the models do not know.
            _MODELS[each.type].model_validate(_as_written(each)["spec"])


def test_the_api_is_served_with_tls_and_port_80_only_redirects(program: Program) -> None:
    api, plain = _spec(program, _GATEWAY)["listeners"]
    assert (api["protocol"], api["port"], api["tls"]["mode"]) == ("HTTPS", 443, "Terminate")
    issued = _spec(program, _CERTIFICATE)
    assert api["tls"]["certificateRefs"][0]["name"] == issued["secretName"]
    assert issued["dnsNames"] == [api["hostname"]] == ["llm.bank.example"]
    assert (plain["protocol"], plain["port"]) == ("HTTP", 80)
    attached: dict[str, list[dict[str, Any]]] = {api["name"]: [], plain["name"]: []}
    for route in program.of_type(_ROUTE):
        (parent,) = route.inputs["spec"]["parentRefs"]
        attached[parent["sectionName"]] += route.inputs["spec"]["rules"]
    (redirect,) = attached[plain["name"]]
    assert [each["type"] for each in redirect["filters"]] == ["RequestRedirect"]
    assert all(rule.get("backendRefs") or rule["filters"] for rule in attached[api["name"]])
    # A domain's route attaches to the listener of the API alone, too.
    domain = http_route("bank-ledger", ["bank"], "agentic-serving", "edge", "router", 8080)
    assert domain["spec"]["parentRefs"][0]["sectionName"] == api["name"]


def test_every_policy_attaches_to_what_is_declared(program: Program) -> None:
    there = {
        (each.inputs["kind"], each.inputs["metadata"]["name"])
        for type_ in (_GATEWAY, _ROUTE)
        for each in program.of_type(type_)
    }
    for type_ in (_TRAFFIC, _LISTENER):
        for each in program.of_type(type_):
            for target in each.inputs["spec"]["targetRefs"]:
                assert (target["kind"], target["name"]) in there
    gateway = _spec(program, _GATEWAY)
    reference = gateway["infrastructure"]["parametersRef"]
    (parameters,) = program.of_type(_PARAMETERS)
    assert (reference["kind"], reference["name"]) == (
        parameters.inputs["kind"],
        parameters.inputs["metadata"]["name"],
    )


def test_the_policy_of_a_domain_limits_its_own_route() -> None:
    policy = domain_policy("bank-ledger", "agentic-serving", Bucket(per_second=5, burst=9))
    route = http_route("bank-ledger", [], "agentic-serving", "edge", "router", 8080)
    (target,) = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == (route["kind"], route["metadata"]["name"])
    assert policy["metadata"]["namespace"] == route["metadata"]["namespace"]
    bucket = policy["spec"]["rateLimit"]["local"]["tokenBucket"]
    assert bucket == {"maxTokens": 9, "tokensPerFill": 5, "fillInterval": "1s"}


def test_bodies_headers_and_idle_streams_are_limited_before_the_router(program: Program) -> None:
    (gateway,) = (
        each.inputs["spec"]
        for each in program.of_type(_TRAFFIC)
        if each.inputs["spec"]["targetRefs"][0]["kind"] == "Gateway"
    )
    assert gateway["buffer"] == {"maxRequestSize": "2Mi"}
    settings = _spec(program, _LISTENER)["default"]["httpSettings"]
    assert settings["streamIdleTimeout"] == "300s"
    early = settings["earlyRequestHeaderModifier"]["remove"]
    (route,) = (
        each.inputs["spec"]
        for each in program.of_type(_ROUTE)
        if each.inputs["metadata"]["name"] == "edge-environment"
    )
    late = route["rules"][1]["filters"][0]["requestHeaderModifier"]["remove"]
    assert len(early) <= 16
    assert not set(early) & set(late)
    assert {"x-bf-vk", "x-auth-request-user"} <= set(late)


def test_gateway_pods_reach_the_router_and_their_control_plane_only(program: Program) -> None:
    spec = _spec(program, _POLICY)
    assert spec["podSelector"]["matchLabels"] == EDGE_LABELS
    assert _spec(program, _GATEWAY)["infrastructure"]["labels"] == EDGE_LABELS
    (ingress,) = spec["ingress"]
    assert [each["port"] for each in ingress["ports"]] == [443, 80]
    assert "from" not in ingress
    dns, router, control = spec["egress"]
    assert dns["ports"][0]["port"] == 53
    assert router["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "router"}
    assert control["ports"] == [{"protocol": "TCP", "port": 9977}]
    # What the router is told of them is what they are.
    peer = edge_pods(EdgeConfig.model_validate(_BASE), 8080)
    assert peer.labels == EDGE_LABELS


def test_gateway_pods_are_restricted_limited_and_drain(program: Program) -> None:
    proxy = _spec(program, _PARAMETERS)["kube"]
    assert proxy["deployment"] == {"replicas": 2}
    container = proxy["envoyContainer"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"] == "512Mi"
    pod = proxy["podTemplate"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    drain = pod["gracefulShutdown"]["sleepTimeSeconds"]
    assert drain == 120
    assert pod["terminationGracePeriodSeconds"] > drain


def test_source_ranges_and_scheme_reach_the_load_balancer() -> None:
    internal, _ = _declare(is_aws=True)
    service = _spec(internal, _PARAMETERS)["kube"]["service"]
    assert service == {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    annotations = _spec(internal, _GATEWAY)["infrastructure"]["annotations"]
    prefix = "service.beta.kubernetes.io/aws-load-balancer"
    assert annotations[f"{prefix}-internal"] == "true"
    assert annotations[f"{prefix}-scheme"] == "internal"
    public, _ = _declare(
        is_aws=True,
        load_balancer={"scheme": "internet-facing", "public": True, "source_ranges": ["0.0.0.0/0"]},
    )
    annotations = _spec(public, _GATEWAY)["infrastructure"]["annotations"]
    assert annotations[f"{prefix}-scheme"] == "internet-facing"
    assert f"{prefix}-internal" not in annotations
    inside, _ = _declare(load_balancer={"scheme": "none"})
    assert _spec(inside, _PARAMETERS)["kube"]["service"] == {"type": "ClusterIP"}
    assert "annotations" not in _spec(inside, _GATEWAY)["infrastructure"]


def test_a_certificate_can_be_copied_or_be_there() -> None:
    copied, _ = _declare(tls={"kind": "external-secret", "store": "aws", "key": "edge/tls"})
    secret = _spec(copied, _EXTERNAL)
    (listener,) = _spec(copied, _GATEWAY)["listeners"]
    assert listener["tls"]["certificateRefs"][0]["name"] == secret["target"]["name"]
    assert secret["target"]["template"] == {"type": "kubernetes.io/tls"}
    assert {each["secretKey"] for each in secret["data"]} == {"tls.crt", "tls.key"}
    there, _ = _declare(tls={"kind": "secret", "name": "wildcard"})
    (listener,) = _spec(there, _GATEWAY)["listeners"]
    assert listener["tls"]["certificateRefs"][0]["name"] == "wildcard"
    assert not there.of_type(_CERTIFICATE)
    assert not there.of_type(_EXTERNAL)


def test_without_kgateway_only_standard_objects_are_declared_and_what_is_lost_is_said() -> None:
    program, outputs = _declare(_OTHER, **_OTHER_GATEWAY)
    assert program.counts() == {"pipeline:edge:Edge": 1, _CERTIFICATE: 1, _GATEWAY: 1, _ROUTE: 1}
    (route,) = program.of_type(_ROUTE)
    (rule,) = route.inputs["spec"]["rules"]
    assert rule["backendRefs"][0]["name"] == "router"
    assert kgateway.GROUP not in str([each.inputs for each in program.objects()])
    gateway = _spec(program, _GATEWAY)
    assert gateway["gatewayClassName"] == "cilium"
    assert "10.0.0.0/8" in gateway["infrastructure"]["annotations"].values()
    assert outputs.domain_limit is None
    for lost in ("request rates", "unknown X-Customer-Domain", "headers", "bodies", "ranges"):
        assert any(lost in text for text in outputs.warnings)
    assert _declare()[1].warnings == ()


def test_without_the_gateway_api_there_is_no_edge() -> None:
    program, outputs = _declare(frozenset())
    assert program.resources == []
    assert outputs.gateway is None
    assert "there is no edge" in outputs.warnings[0]


@pytest.mark.parametrize(
    ("operators", "changes", "message"),
    [
        (_OTHER, {}, "gateway_class is 'kgateway' and the operator kgateway is off"),
        (_CLUSTER, _OTHER_GATEWAY, "gateway_class is 'cilium' and the operator kgateway is on"),
        (
            frozenset({"gateway-api", "kgateway"}),
            {"tls": {"kind": "external-secret", "store": "aws", "key": "k"}},
            "needs the operator external-secrets",
        ),
    ],
)
def test_operators_that_are_missing_are_named(
    operators: frozenset[Operator], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EdgeConfig.model_validate({**_BASE, **changes}).check_operators(operators)
