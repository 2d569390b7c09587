"""Bifrost as Kubernetes objects, composed from configuration."""

import json
from typing import Any

import pulumi_kubernetes as kubernetes
import pytest
from pydantic import TypeAdapter

from components.background_service import Scraping
from components.model_pool import PodGroup
from components.object_store import ObjectStoreAccess
from components.pods import PodPeer
from serving.bifrost.schema import GatewayFile
from serving.billing.prices import read_prices
from stacks.config.bifrost import Direct
from stacks.config.bifrost import Gateway as GatewayConfig
from stacks.config.images import Images
from stacks.paths import ROOT
from stacks.programs.cluster.context import Cluster
from stacks.programs.cluster.gateway import (
    Gateway,
    GatewayWiring,
    PoolAddress,
    declare_gateway,
)
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_NAME = "prod-bifrost"
_IMAGE = "registry.example.com/image@sha256:" + "0a" * 32
_EVERY = {
    "pipeline:serving:Bifrost": 1,
    "kubernetes:core/v1:ServiceAccount": 1,
    "kubernetes:core/v1:Service": 1,
    "kubernetes:policy/v1:PodDisruptionBudget": 1,
    "kubernetes:monitoring.coreos.com/v1:PodMonitor": 1,
    _CONFIG_MAP: 1,
    _POLICY: 1,
    _DEPLOYMENT: 1,
}
_POSTGRES = {
    "kind": "postgres",
    "host": "bifrost.db.example",
    "password": {"secret": "bifrost-database", "key": "password"},
    "network": "10.0.8.0/24",
}


def _cluster() -> Cluster:
    return Cluster(
        environment="prod",
        kubernetes=kubernetes.Provider("cluster"),
        aws=None,
        images=Images.model_validate(dict.fromkeys(Images.model_fields, _IMAGE)),
        operators=frozenset({"prometheus"}),
        api_server="10.0.0.1/32",
        object_store=ObjectStoreAccess(),
        tags={},
    )


def _wiring(*pools: Any) -> GatewayWiring:
    return GatewayWiring(
        pools={
            pool: PoolAddress(
                service=f"vllm-{pool}-svc",
                pods=PodPeer(
                    namespace="agentic-serving",
                    labels={"app.kubernetes.io/name": f"vllm-{pool}"},
                    port=8000,
                ),
                served_base=base,
            )
            for pool, base in {"slm": "llama-8b", "llm": "glm5"}.items()
            if pool in (pools or ("slm", "llm"))
        },
        router=PodGroup(namespace="agentic-serving", labels={"app.kubernetes.io/name": "router"}),
        prices=read_prices(ROOT / "stacks" / "prices.yaml"),
        max_body_mib=2,
        scraping=Scraping(
            prometheus=PodPeer(namespace="monitoring", labels={"app": "prometheus"}, port=1),
            monitor_labels={"release": "prometheus"},
        ),
    )


def _config(**changes: Any) -> Any:
    given = {"kind": "bifrost", "image": _IMAGE, "virtual_keys": "bifrost-keys", **changes}
    return TypeAdapter(GatewayConfig).validate_python(given)


def _declare(config: Any) -> tuple[Program, Gateway]:
    found: list[Gateway] = []
    program = declare(lambda: found.append(declare_gateway(config, _cluster(), _wiring())))
    return program, found[0]


@pytest.fixture(scope="module")
def whole() -> tuple[Program, Gateway]:
    return _declare(
        _config(
            replicas=1,
            store=_POSTGRES,
            encryption_key={"secret": "bifrost-database", "key": "encryption"},
            customers={"customer-bank-A": {"budget": {"max_usd": "2500"}}},
        )
    )


def test_declares_what_it_needs_and_nothing_else(whole: tuple[Program, Gateway]) -> None:
    program, _ = whole
    assert program.counts() == _EVERY
    for each in program.objects():
        assert each.parent == "pipeline:serving:Bifrost"
        kubernetes_schema.check(each.type, each.inputs)


def test_the_pod_finds_every_file_and_variable_of_its_configuration(
    whole: tuple[Program, Gateway],
) -> None:
    program, _ = whole
    data = program.one(_CONFIG_MAP, _NAME).inputs["data"]
    file = GatewayFile.model_validate_json(data["config.json"])
    pod = program.one(_DEPLOYMENT, _NAME).inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {each["mountPath"]: each.get("subPath") for each in container["volumeMounts"]}
    pricing = file.framework.pricing
    for url in (pricing.pricing_url, pricing.model_parameters_url, pricing.mcp_library_url):
        path = url.removeprefix("file://")
        assert json.loads(data[mounted[path] or ""]) is not None
    assert mounted["/app/data/config.json"] == "config.json"
    variables = {each["name"]: each for each in container["env"]}
    wanted = set()
    for text in data["config.json"].split('"'):
        if text.startswith("env."):
            wanted.add(text.removeprefix("env."))
    assert wanted == {name for name, each in variables.items() if "valueFrom" in each}
    assert variables["POSTGRES_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "bifrost-database",
        "key": "password",
    }


def test_the_pod_is_restricted_probed_and_limited(whole: tuple[Program, Gateway]) -> None:
    program, _ = whole
    spec = program.one(_DEPLOYMENT, _NAME).inputs["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert limits["memory"] == requests["memory"] == "1024Mi"
    (memory,) = (each["value"] for each in container["env"] if each["name"] == "GOMEMLIMIT")
    assert int(memory) < 1024 * 2**20


def test_only_router_and_prometheus_reach_it_and_it_reaches_pools_and_database(
    whole: tuple[Program, Gateway],
) -> None:
    program, _ = whole
    spec = program.one(_POLICY, _NAME).inputs["spec"]
    sources = [rule["from"][0]["podSelector"]["matchLabels"] for rule in spec["ingress"]]
    assert sources == [{"app.kubernetes.io/name": "router"}, {"app": "prometheus"}]
    assert {rule["ports"][0]["port"] for rule in spec["ingress"]} == {8080}
    targets = [
        rule["to"][0]["ipBlock"]["cidr"]
        if "ipBlock" in rule["to"][0]
        else rule["to"][0]["podSelector"]["matchLabels"].get("app.kubernetes.io/name", "dns")
        for rule in spec["egress"]
    ]
    assert targets == ["dns", "vllm-slm", "vllm-llm", "10.0.8.0/24"]


def test_the_router_gets_addresses_providers_and_keys(whole: tuple[Program, Gateway]) -> None:
    program, gateway = whole
    service = program.one("kubernetes:core/v1:Service", _NAME).inputs
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}"
    port = int(service["spec"]["ports"][0]["port"])
    file = GatewayFile.model_validate_json(
        program.one(_CONFIG_MAP, _NAME).inputs["data"]["config.json"]
    )
    for via in gateway.via.values():
        assert via.url == f"http://{address}.svc.cluster.local:{port}"
        assert via.provider in file.providers
        assert via.key is not None
        assert via.key.env in gateway.secrets
    assert gateway.customer_keys["customer-bank-A"] in gateway.secrets


def test_direct_declares_nothing_and_changes_no_address() -> None:
    program, gateway = _declare(Direct(kind="direct"))
    assert program.resources == []
    assert (gateway.via, gateway.warnings) == ({}, ())


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        ({"mode": "as-asked"}, ""),
        ({"mode": "as-asked", "fall_back_to": "llm"}, "booked as that other pool's"),
        (
            {
                "mode": "weighted",
                "weights": {"slm": "0.7", "llm": "0.3"},
                "reason": "the guide's example",
            },
            r"at random (slm 0.7, llm 0.3)",
        ),
    ],
)
def test_what_the_ledger_cannot_know_is_said(routing: dict[str, Any], said: str) -> None:
    _, gateway = _declare(_config(routing=routing))
    assert said in " ".join(gateway.warnings)
    assert bool(gateway.warnings) == bool(said)


def test_a_pool_that_is_not_served_is_refused() -> None:
    config = _config(routing={"mode": "as-asked", "fall_back_to": "slm"})

    def build() -> None:
        with pytest.raises(ValueError, match=r"fall_back_to: this environment serves no pool slm"):
            declare_gateway(config, _cluster(), _wiring("llm"))

    assert declare(build).resources == []
