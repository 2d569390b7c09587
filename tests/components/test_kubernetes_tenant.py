"""A tenant as Kubernetes objects, and the record that cluster-watch reads from them."""

import json
from collections.abc import Sequence
from typing import Any

import pulumi_kubernetes as kubernetes
import pytest

from components.kubernetes_tenant import KEY_FIELD, KubernetesTenant, KubernetesTenantArgs
from serving.cluster_watch.config import TENANCY_KEY
from serving.cluster_watch.records import SELECTOR, domain_of
from serving.edge.policies import Bucket, domain_policy
from serving.edge.routes import http_route
from tests.components import kubernetes_schema
from tests.components.declared import DOMAIN_KEY, Program, declare, domain_key, revealed

ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"


def _record(hashes: Sequence[str]) -> str:
    return json.dumps({"domain": "bank-ledger", "key_hashes": list(hashes)})


def _declared(serials: Sequence[int] = (1,), policies: Sequence[Any] = ()) -> Program:
    def build() -> None:
        KubernetesTenant(
            "bank-ledger",
            KubernetesTenantArgs(
                provider=kubernetes.Provider("cluster"),
                namespace="agentic-serving",
                key_namespace="pipeline-operations",
                domain="bank-ledger",
                record_of=_record,
                key_serials=serials,
                http_route=http_route(
                    domain="bank-ledger",
                    aliases=["bank"],
                    namespace="agentic-serving",
                    gateway="edge",
                    service="router",
                    port=8080,
                ),
                policies=policies,
            ),
        )

    return declare(build)


@pytest.fixture(scope="module")
def program() -> Program:
    policy = domain_policy("bank-ledger", "agentic-serving", Bucket(per_second=10, burst=20))
    return _declared(policies=[policy])


def test_every_object_is_one_that_kubernetes_takes(program: Program) -> None:
    objects = list(program.objects())
    for each in objects:
        assert "::cluster::" in each.provider
        inputs = dict(each.inputs)
        if "stringData" in inputs:
            inputs["stringData"] = revealed(inputs["stringData"])
        kubernetes_schema.check(each.type, inputs)
    assert sorted(each.type.rpartition(":")[2] for each in objects) == [
        *("ConfigMap", "HTTPRoute", "Secret", "TrafficPolicy"),
    ]


def test_every_object_is_named_after_the_domain(program: Program) -> None:
    for each in program.objects():
        assert "bank-ledger" in each.inputs["metadata"]["name"]


def test_cluster_watch_finds_the_record(program: Program) -> None:
    (record,) = program.of_type("kubernetes:core/v1:ConfigMap")
    metadata = record.inputs["metadata"]
    key, _, value = SELECTOR.partition("=")
    assert metadata["labels"][key] == value
    assert metadata["namespace"] == "agentic-serving"
    assert domain_of(metadata["name"]) == "bank-ledger"


def test_the_key_is_a_secret_and_no_pod_of_the_request_path_can_mount_it(program: Program) -> None:
    (secret,) = program.of_type("kubernetes:core/v1:Secret")
    assert revealed(secret.inputs["stringData"]) == {KEY_FIELD: domain_key(1)["key"]}
    assert secret.inputs["metadata"]["namespace"] == "pipeline-operations"
    (record,) = program.of_type("kubernetes:core/v1:ConfigMap")
    assert domain_key(1)["key"] not in json.dumps(record.inputs)


def test_the_route_is_the_one_of_the_edge(program: Program) -> None:
    (route,) = program.of_type(ROUTE)
    values = {
        header["value"]
        for rule in route.inputs["spec"]["rules"]
        for match in rule["matches"]
        for header in match["headers"]
    }
    assert values == {"bank-ledger", "bank"}


def test_two_keys_are_valid_while_a_key_is_rotated() -> None:
    rotating = _declared(serials=(1, 2))
    assert len(rotating.of_type(DOMAIN_KEY)) == 2
    (record,) = rotating.of_type("kubernetes:core/v1:ConfigMap")
    known = json.loads(record.inputs["data"][TENANCY_KEY])["key_hashes"]
    assert known == [domain_key(serial)["key_hash"] for serial in (1, 2)]
    (secret,) = rotating.of_type("kubernetes:core/v1:Secret")
    assert revealed(secret.inputs["stringData"]) == {KEY_FIELD: domain_key(2)["key"]}


def test_without_policies_there_is_only_the_route() -> None:
    counts = _declared().counts()
    assert counts[ROUTE] == 1
    assert not [kind for kind in counts if "kgateway" in kind]
