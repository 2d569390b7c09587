"""The HTTPRoute objects: what they match, what they remove, where they go."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.edge.routes import (
    UNKNOWN_DOMAIN_BODY,
    conflicts,
    environment_route,
    http_route,
    unknown_domain_response,
)


def _route(domain: str, *aliases: str) -> dict:
    return http_route(domain, aliases, "pipeline", "edge", "router", 8081)


def test_a_domain_and_each_alias_match_exactly_and_go_to_the_router() -> None:
    route = _route("bank-ledger", "bank")
    (rule,) = route["spec"]["rules"]
    values = {
        (match["method"], header["name"], header["type"], header["value"])
        for match in rule["matches"]
        for header in match["headers"]
    }
    assert values == {
        (method, "X-Customer-Domain", "Exact", value)
        for method in ("GET", "POST")
        for value in ("bank-ledger", "bank")
    }
    assert rule["backendRefs"] == [{"name": "router", "port": 8081}]
    assert route["spec"]["parentRefs"] == [{"name": "edge", "sectionName": "api"}]
    assert route["metadata"]["namespace"] == "pipeline"


@settings(deadline=None)
@given(st.integers(0, 63))
def test_every_route_is_within_the_limits_of_the_gateway_api(count: int) -> None:
    aliases = [f"bank-{n}" for n in range(count)]
    rules = http_route("bank-ledger", aliases, "pipeline", "edge", "router", 8081)["spec"]["rules"]
    counts = [len(rule["matches"]) for rule in rules]
    assert sum(counts) == 2 * (1 + count)
    assert len(rules) <= 16
    assert max(counts) <= 64
    for rule in rules:
        for each in rule["filters"]:
            assert len(each["requestHeaderModifier"]["remove"]) <= 16


def test_too_many_aliases_are_refused() -> None:
    with pytest.raises(ValueError, match=r"header_aliases: 64 aliases .* takes 63"):
        _route("bank-ledger", *(f"bank-{n}" for n in range(64)))


def test_two_domains_never_share_an_object_name_with_the_environment() -> None:
    names = {_route(domain)["metadata"]["name"] for domain in ("a", "edge-environment")}
    own = environment_route("pipeline", "edge", "router", 8081)["metadata"]["name"]
    assert len(names | {own}) == 3


def test_the_answer_for_unknown_domains_is_an_error_that_openai_clients_read() -> None:
    response = unknown_domain_response("pipeline")
    refused, _ = environment_route("pipeline", "edge", "router", 8081)["spec"]["rules"]
    (reference,) = refused["filters"]
    assert reference["extensionRef"]["name"] == response["metadata"]["name"]
    assert reference["extensionRef"]["kind"] == response["kind"]
    assert response["spec"]["status"] == 404
    assert json.loads(UNKNOWN_DOMAIN_BODY)["error"]["code"] == "unknown_domain"


def test_an_alias_that_two_domains_claim_is_found() -> None:
    routes = {
        "a.yaml": _route("alpha", "shared"),
        "b.yaml": _route("beta"),
        "c.yaml": _route("gamma", "shared", "beta"),
    }
    found = conflicts(routes)
    assert list(found) == ["c.yaml"]
    assert "claimed by a.yaml" in found["c.yaml"] or "claimed by b.yaml" in found["c.yaml"]
    assert conflicts({"a.yaml": routes["a.yaml"], "b.yaml": routes["b.yaml"]}) == {}
