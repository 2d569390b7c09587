"""What the API server refuses, and what the harness says about it."""

import copy
from typing import Any

import pytest
import requests

from tests.cluster.api_server import ApiServer
from tests.cluster.client import ApiError, Client
from tests.cluster.strict import apply_strict
from tools.setup.cluster import KUBERNETES

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict"}}
MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings", "namespace": "strict"},
    "data": {"a": "1"},
}
ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "bank-ledger", "namespace": "strict"},
    "spec": {
        "parentRefs": [{"name": "edge"}],
        "rules": [{"backendRefs": [{"name": "router", "port": 8081}]}],
    },
}


def test_the_server_is_the_pinned_version(server: ApiServer) -> None:
    version = server.client.request("GET", "/version").json()
    assert version["gitVersion"] == KUBERNETES


def test_objects_are_applied_after_their_namespace(server: ApiServer) -> None:
    assert apply_strict(server.client, [ROUTE, MAP, NAMESPACE]) == []
    stored = server.client.get("v1", "ConfigMap", "settings", "strict")
    assert stored["data"] == {"a": "1"}


def test_every_refusal_is_said_and_the_rest_applied(server: ApiServer) -> None:
    unknown = copy.deepcopy(ROUTE)
    unknown["metadata"]["name"] = "unknown-field"
    unknown["spec"]["rules"][0]["timeout"] = "10s"
    wrong = copy.deepcopy(ROUTE)
    wrong["metadata"]["name"] = "wrong-value"
    wrong["spec"]["rules"][0]["matches"] = [{"path": {"type": "Exact", "value": "no-slash"}}]
    good = copy.deepcopy(ROUTE)
    good["metadata"]["name"] = "good"
    refusals = apply_strict(server.client, [NAMESPACE, unknown, wrong, good])
    assert [each.object for each in refusals] == [
        "HTTPRoute/strict/unknown-field",
        "HTTPRoute/strict/wrong-value",
    ]
    assert ".spec.rules[0].timeout: field not declared in schema" in refusals[0].reason
    assert "must be an absolute path" in refusals[1].reason
    assert server.client.get(ROUTE["apiVersion"], "HTTPRoute", "good", "strict")["spec"]
    with pytest.raises(ApiError) as caught:
        server.client.get(ROUTE["apiVersion"], "HTTPRoute", "wrong-value", "strict")
    assert caught.value.status == requests.codes.not_found


def test_a_kind_that_no_operator_brought_is_refused(server: ApiServer) -> None:
    policy = {
        "apiVersion": "gateway.kgateway.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": "limits", "namespace": "default"},
        "spec": {},
    }
    (refusal,) = apply_strict(server.client, [policy])
    assert refusal.object == "TrafficPolicy/default/limits"


def test_a_pod_that_is_not_restricted_is_refused_where_the_namespace_says_so(
    server: ApiServer,
) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "restricted",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "restricted"},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": "restricted"},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    (refusal,) = apply_strict(server.client, [namespace, account, pod])
    assert 'violates PodSecurity "restricted:latest"' in refusal.reason


def test_a_warning_counts_as_a_refusal(server: ApiServer) -> None:
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "warned", "labels": labels},
    }
    pods = {
        "metadata": {"labels": {"app": "root"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "root", "namespace": "warned"},
        "spec": {"selector": {"matchLabels": {"app": "root"}}, "template": pods},
    }
    (refusal,) = apply_strict(server.client, [namespace, deployment])
    assert refusal.object == "Deployment/warned/root"
    assert 'would violate PodSecurity "restricted:latest"' in refusal.reason


def test_roles_are_enforced(server: ApiServer) -> None:
    scheduler = Client(server.url, server.tokens["scheduler"], server.certificates.authority)
    assert scheduler.list("v1", "Node") == []
    with pytest.raises(ApiError) as caught:
        scheduler.list("v1", "Secret")
    assert caught.value.status == requests.codes.forbidden
