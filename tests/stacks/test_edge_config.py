"""Configuration of the edge and of Bifrost: what is refused, and what the message says."""

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stacks.config.bifrost import Gateway
from stacks.config.edge import EdgeConfig, LoadBalancer

_EDGE: dict[str, Any] = {
    "hostname": "llm.bank.example",
    "tls": {"kind": "secret", "name": "wildcard"},
    "load_balancer": {"source_ranges": ["10.0.0.0/8"]},
}
_BIFROST: dict[str, Any] = {
    "kind": "bifrost",
    "image": "maximhq/bifrost@sha256:" + "0a" * 32,
    "virtual_keys": "bifrost-keys",
}
_POSTGRES = {
    "kind": "postgres",
    "host": "db.example",
    "password": {"secret": "s", "key": "p"},
    "network": "10.0.8.0/24",
}
_NONE = {"kind": "none", "reason": "a test cluster"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hostname": "llm"}, "written as a full host name"),
        ({"hostname": "10.0.0.1"}, "an address cannot be a host name"),
        ({"load_balancer": {}}, "without them lets everybody connect"),
        ({"load_balancer": {"source_ranges": ["10.0.0.1/8"]}}, "has host bits set"),
        (
            {"load_balancer": {"scheme": "none", "source_ranges": ["10.0.0.0/8"]}},
            "source_ranges need a load balancer",
        ),
        (
            {"load_balancer": {"public": True, "source_ranges": ["10.0.0.0/8"]}},
            "public: true goes with scheme internet-facing",
        ),
        (
            {
                "tls": _NONE,
                "load_balancer": {
                    "scheme": "internet-facing",
                    "source_ranges": ["198.51.100.0/24"],
                },
            },
            "would send keys in the clear",
        ),
        ({"tls": _NONE, "plain_http": "redirect"}, "redirect needs a certificate"),
        ({"tls": {"kind": "none", "reason": "why not"}}, "at least 10 characters"),
        ({"rate_limits": {"domain": {"per_second": 9, "burst": 3}}}, "set burst to at least 9"),
        ({"timeouts": {"stream_idle_s": 350}}, "less than or equal to 340"),
        ({"gateway_class": "cilium"}, "those of another implementation must be named"),
        (
            {"gateway_pods": {"namespace": "x", "labels": {"a": "b"}}},
            "kgateway's pods are known",
        ),
        (
            {
                "gateway_class": "cilium",
                "gateway_pods": {"namespace": "x", "labels": {"a": "b"}},
                "load_balancer": {
                    "scheme": "internet-facing",
                    "source_ranges": ["198.51.100.0/24"],
                },
            },
            "source_ranges are only sure with kgateway",
        ),
        ({"tls": {"kind": "acm"}}, "cert-manager"),
    ],
)
def test_an_edge_that_would_not_hold_is_refused(changes: dict[str, Any], message: str) -> None:
    EdgeConfig.model_validate(_EDGE)
    with pytest.raises(ValidationError, match=message):
        EdgeConfig.model_validate({**_EDGE, **changes})


@given(st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_no_large_part_of_the_internet_gets_in_unless_it_is_said(prefix: int, address: int) -> None:
    network = str(IPv4Network((address, prefix), strict=False))
    for scheme in ("internal", "internet-facing"):
        given_ = {"scheme": scheme, "source_ranges": [network]}
        if prefix < 8:
            with pytest.raises(ValidationError, match="say public: true"):
                LoadBalancer.model_validate(given_)
        else:
            assert LoadBalancer.model_validate(given_).source_ranges == (network,)
    said = {"scheme": "internet-facing", "public": True, "source_ranges": [network]}
    assert LoadBalancer.model_validate(said).source_ranges == (network,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "maximhq/bifrost:v2.2.5"}, "write repository@sha256:<64 hex digits>"),
        (
            {"store": _POSTGRES, "encryption_key": {"secret": "s", "key": "k"}},
            "replicas is 2: with store.kind postgres",
        ),
        ({"store": _POSTGRES, "replicas": 1}, "encryption_key is missing"),
        (
            {"customers": {"bank-A": {"budget": {"max_usd": "10"}}}},
            r"customers\.bank-A\.budget: with store.kind file",
        ),
        ({"customers": {"bank_A": {}}}, "customers"),
        (
            {
                "routing": {
                    "mode": "weighted",
                    "weights": {"slm": "0.7", "llm": "0.2"},
                    "reason": "the guide's example",
                }
            },
            r"weights sum to 0\.9, and must sum to 1",
        ),
        (
            {
                "routing": {
                    "mode": "weighted",
                    "weights": {"slm": 1},
                    "reason": "the guide's example",
                }
            },
            "weights name both pools",
        ),
        (
            {"routing": {"mode": "as-asked", "first_token_ms": 8000}},
            "fall_back_to does not say who answers",
        ),
    ],
)
def test_a_gateway_that_would_not_hold_is_refused(changes: dict[str, Any], message: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Gateway)
    adapter.validate_python(_BIFROST)
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python({**_BIFROST, **changes})


def test_weights_of_yaml_are_read_as_they_are_written() -> None:
    routing = {
        "mode": "weighted",
        "weights": {"slm": 0.7, "llm": 0.3},
        "reason": "the guide's example",
    }
    config = TypeAdapter(Gateway).validate_python({**_BIFROST, "routing": routing})
    assert {pool: str(share) for pool, share in config.routing.weights.items()} == {
        "slm": "0.7",
        "llm": "0.3",
    }
