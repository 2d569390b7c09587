"""What the edge does to requests before the router, as objects of kgateway."""

from dataclasses import dataclass
from typing import Any

from serving.edge.kgateway import (
    Buffer,
    HeaderRemoval,
    HttpSettings,
    ListenerConfig,
    ListenerPolicySpec,
    LocalRateLimit,
    RateLimit,
    TargetRef,
    TokenBucket,
    TrafficPolicySpec,
    manifest,
)
from serving.edge.routes import STEERING_HEADERS, environment_route_name, route_name


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A token bucket that is filled every second; counts are requests."""

    per_second: int
    burst: int


def domain_policy(domain: str, namespace: str, limit: Bucket) -> dict[str, Any]:
    """Return the TrafficPolicy of one domain's HTTPRoute.

    Envoy has a bucket for each route, and a route is one method and one value of the header, in one
    gateway pod.
    """
    return _route_policy(route_name(domain), namespace, limit)


def without_domain_policy(gateway: str, namespace: str, limit: Bucket) -> dict[str, Any]:
    """Return the TrafficPolicy of the environment's own HTTPRoute."""
    return _route_policy(environment_route_name(gateway), namespace, limit)


def gateway_policy(
    gateway: str, namespace: str, limit: Bucket, *, max_body_mib: int
) -> dict[str, Any]:
    """Return the TrafficPolicy of the Gateway: for every route that says nothing else.

    Args:
        gateway: Name of the Gateway.
        namespace: Its namespace.
        limit: What domains get whose own policies are missing: one bucket for all of them.
        max_body_mib: Largest request body, as the router's.
    """
    target = TargetRef(kind="Gateway", name=gateway)
    spec = TrafficPolicySpec(
        target_refs=(target,),
        rate_limit=_rate_limit(limit),
        buffer=Buffer(max_request_size=f"{max_body_mib}Mi"),
    )
    return manifest(gateway, namespace, spec)


def listener_policy(
    gateway: str, namespace: str, *, stream_idle_s: int, connection_idle_s: int
) -> dict[str, Any]:
    """Return the ListenerPolicy of the Gateway: headers that go, and times without a byte."""
    settings = HttpSettings(
        early_request_header_modifier=HeaderRemoval(remove=STEERING_HEADERS),
        stream_idle_timeout=f"{stream_idle_s}s",
        idle_timeout=f"{connection_idle_s}s",
        # X-Forwarded-For that clients send must not become their address.
        use_remote_address=True,
    )
    spec = ListenerPolicySpec(
        target_refs=(TargetRef(kind="Gateway", name=gateway),),
        default=ListenerConfig(http_settings=settings),
    )
    return manifest(gateway, namespace, spec)


def _route_policy(route: str, namespace: str, limit: Bucket) -> dict[str, Any]:
    target = TargetRef(kind="HTTPRoute", name=route)
    spec = TrafficPolicySpec(target_refs=(target,), rate_limit=_rate_limit(limit))
    return manifest(route, namespace, spec)


def _rate_limit(limit: Bucket) -> RateLimit:
    bucket = TokenBucket(
        max_tokens=limit.burst, tokens_per_fill=limit.per_second, fill_interval="1s"
    )
    return RateLimit(local=LocalRateLimit(token_bucket=bucket))
