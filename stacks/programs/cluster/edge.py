"""The edge of an environment on Kubernetes, and the gateway behind its router."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from components.edge import (
    CERTIFICATE,
    EDGE_LABELS,
    CopiedCertificate,
    Edge,
    EdgeArgs,
    IssuedCertificate,
)
from components.pods import Peer, PodPeer
from serving.edge.listeners import (
    GATEWAY,
    PLAIN_LISTENER,
    GatewaySpec,
    Infrastructure,
)
from serving.edge.policies import (
    Bucket,
    gateway_policy,
    listener_policy,
    without_domain_policy,
)
from serving.edge.proxy import Proxy, gateway_parameters
from serving.edge.routes import environment_route, redirect_route, unknown_domain_response
from stacks.config.edge import (
    CertManagerTls,
    EdgeConfig,
    ExternalSecretTls,
    LoadBalancer,
    NoTls,
    SecretTls,
    Tls,
    TokenBucket,
)
from stacks.programs.cluster.context import SERVING, Cluster

KGATEWAY_SYSTEM: Final = "kgateway-system"
"""Namespace of kgateway's control plane."""
_XDS_PORT: Final = 9977
_AWS_LOAD_BALANCER: Final = "service.beta.kubernetes.io/aws-load-balancer"
_SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"

LOST_WITHOUT_KGATEWAY: Final = (
    "the edge limits no request rates: only the router's limits hold",
    "an unknown X-Customer-Domain is refused by the router, after it has looked at the key, and "
    "not by the edge",
    "the edge removes the headers that its routes name (16), not the further ones that steer "
    "Bifrost; the router passes on none of them",
    "bodies over the limit reach the router, which refuses them; idle streams are closed by the "
    "rules of that implementation",
    "source ranges of the load balancer are an annotation that the implementation may ignore",
)
"""What another implementation of the Gateway API is not told."""
LOST_WITHOUT_GATEWAY_API: Final = (
    "there is no edge: no TLS, no routes; the router is reached by its Service only",
)


@dataclass(frozen=True, kw_only=True)
class RouterAddress:
    """Where the edge sends requests."""

    service: str
    port: int
    """Of the Service."""
    pods: PodPeer
    max_body_mib: int
    """Largest request body that it takes."""


@dataclass(frozen=True, kw_only=True)
class EdgeOutputs:
    """What others need of the edge."""

    gateway: str | None
    """Name of the Gateway, in the namespace of the router; None: domains declare no routes."""
    domain_limit: Bucket | None
    """Rate limit of a domain that sets no other; None where the edge cannot limit."""
    warnings: tuple[str, ...]
    """What this cluster does not get, for preview."""


def edge_pods(config: EdgeConfig, router_port: int) -> PodPeer:
    """Return the pods that requests come from, for the router's NetworkPolicy."""
    pods = config.gateway_pods
    if pods is None:
        return PodPeer(namespace=SERVING, labels=EDGE_LABELS, port=router_port)
    return PodPeer(namespace=pods.namespace, labels=pods.labels, port=router_port)


def declare_edge(config: EdgeConfig, cluster: Cluster, router: RouterAddress) -> EdgeOutputs:
    """Declare the edge of an environment, as far as the cluster's operators allow.

    Raises:
        ValueError: The configuration needs an operator that is off.
    """
    config.check_operators(cluster.operators)
    if "gateway-api" not in cluster.operators:
        return EdgeOutputs(gateway=None, domain_limit=None, warnings=LOST_WITHOUT_GATEWAY_API)
    has_kgateway = "kgateway" in cluster.operators
    gateway = _gateway(config, cluster, has_kgateway=has_kgateway)
    Edge(
        f"{cluster.environment}-edge",
        EdgeArgs(
            provider=cluster.kubernetes,
            gateway=gateway,
            certificate=_certificate(config.tls),
            routes=_routes(config, router, has_kgateway=has_kgateway),
            answers=[unknown_domain_response(SERVING)] if has_kgateway else [],
            parameters=_parameters(config) if has_kgateway else None,
            policies=_policies(config, router) if has_kgateway else [],
            egress=_egress(router) if has_kgateway else None,
        ),
    )
    return EdgeOutputs(
        gateway=GATEWAY,
        domain_limit=_bucket(config.rate_limits.domain) if has_kgateway else None,
        warnings=() if has_kgateway else LOST_WITHOUT_KGATEWAY,
    )


def _gateway(config: EdgeConfig, cluster: Cluster, *, has_kgateway: bool) -> GatewaySpec:
    annotations = dict(_on_aws(config.load_balancer)) if cluster.aws is not None else {}
    if not has_kgateway and config.load_balancer.source_ranges:
        annotations[_SOURCE_RANGES] = ",".join(config.load_balancer.source_ranges)
    return GatewaySpec(
        namespace=SERVING,
        gateway_class=config.gateway_class,
        hostname=config.hostname,
        certificate=_secret_of(config.tls),
        redirects=config.plain_http == "redirect",
        infrastructure=Infrastructure(
            labels=EDGE_LABELS, annotations=annotations, has_parameters=has_kgateway
        ),
    )


def _on_aws(balancer: LoadBalancer) -> Mapping[str, str]:
    """A Network Load Balancer, as both of AWS's controllers read it."""
    if balancer.scheme == "none":
        return {}
    is_internal = balancer.scheme == "internal"
    return {
        f"{_AWS_LOAD_BALANCER}-type": "nlb",
        f"{_AWS_LOAD_BALANCER}-scheme": balancer.scheme,
        f"{_AWS_LOAD_BALANCER}-cross-zone-load-balancing-enabled": "true",
        # The controller that is built in knows only this one, by its presence.
        **({f"{_AWS_LOAD_BALANCER}-internal": "true"} if is_internal else {}),
    }


def _secret_of(tls: Tls) -> str | None:
    if isinstance(tls, NoTls):
        return None
    return tls.name if isinstance(tls, SecretTls) else CERTIFICATE


def _certificate(tls: Tls) -> IssuedCertificate | CopiedCertificate | None:
    if isinstance(tls, CertManagerTls):
        return IssuedCertificate(issuer=tls.issuer, issuer_kind=tls.issuer_kind)
    if isinstance(tls, ExternalSecretTls):
        return CopiedCertificate(store=tls.store, store_kind=tls.store_kind, key=tls.key)
    return None


def _routes(
    config: EdgeConfig, router: RouterAddress, *, has_kgateway: bool
) -> list[dict[str, Any]]:
    own = environment_route(
        SERVING, GATEWAY, router.service, router.port, refuse_unknown=has_kgateway
    )
    if config.plain_http == "none":
        return [own]
    return [own, redirect_route(SERVING, GATEWAY, PLAIN_LISTENER)]


def _parameters(config: EdgeConfig) -> dict[str, Any]:
    balancer = config.load_balancer
    proxy = Proxy(
        replicas=config.replicas,
        drain_s=config.timeouts.drain_s,
        pod_labels=EDGE_LABELS,
        source_ranges=None if balancer.scheme == "none" else balancer.source_ranges,
    )
    return gateway_parameters(GATEWAY, SERVING, proxy)


def _policies(config: EdgeConfig, router: RouterAddress) -> list[dict[str, Any]]:
    timeouts = config.timeouts
    return [
        gateway_policy(
            GATEWAY,
            SERVING,
            _bucket(config.rate_limits.domain),
            max_body_mib=router.max_body_mib,
        ),
        without_domain_policy(GATEWAY, SERVING, _bucket(config.rate_limits.without_domain)),
        listener_policy(
            GATEWAY,
            SERVING,
            stream_idle_s=timeouts.stream_idle_s,
            connection_idle_s=timeouts.connection_idle_s,
        ),
    ]


def _egress(router: RouterAddress) -> list[Peer]:
    return [router.pods, PodPeer(namespace=KGATEWAY_SYSTEM, labels={}, port=_XDS_PORT)]


def _bucket(bucket: TokenBucket) -> Bucket:
    return Bucket(per_second=bucket.per_second, burst=bucket.burst)
