"""The edge on Kubernetes: a Gateway with its certificate, routes, policies and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import meta, networking

from components.manifests import custom_object
from components.pods import Peer, metadata, network_policy
from serving.edge.listeners import GATEWAY, GatewaySpec, gateway_object, ports

EDGE_LABELS: Final = {"custom-model-pipeline/edge": GATEWAY}
"""Labels of the gateway pods; the Gateway asks its implementation for them."""
CERTIFICATE: Final = f"{GATEWAY}-certificate"
"""Secret of a certificate that is issued or copied."""
_REFRESHED: Final = "1h"


@dataclass(frozen=True, kw_only=True)
class IssuedCertificate:
    """What cert-manager issues."""

    issuer: str
    issuer_kind: str


@dataclass(frozen=True, kw_only=True)
class CopiedCertificate:
    """What External Secrets copies."""

    store: str
    store_kind: str
    key: str


@dataclass(frozen=True, kw_only=True)
class EdgeArgs:
    """One Gateway and what belongs to it."""

    provider: kubernetes.Provider
    gateway: GatewaySpec
    certificate: IssuedCertificate | CopiedCertificate | None
    """Where the Gateway's certificate comes from; None when it is there, or there is none."""
    routes: Sequence[Mapping[str, Any]]
    """HTTPRoutes of the environment."""
    answers: Sequence[Mapping[str, Any]] = ()
    """Objects that routes refer to."""
    parameters: Mapping[str, Any] | None = None
    """GatewayParameters, where the Gateway names them."""
    policies: Sequence[Mapping[str, Any]] = ()
    """Objects that attach to the Gateway and to routes."""
    egress: Sequence[Peer] | None
    """What the gateway pods may reach; None where they are another implementation's, in a
    namespace of their own."""


class Edge(pulumi.ComponentResource):
    """Gateway, certificate, routes, policies and the NetworkPolicy of the gateway pods."""

    gateway: kubernetes.apiextensions.CustomResource

    def __init__(
        self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The edge.
            opts: Options of the component.
        """
        super().__init__("pipeline:edge:Edge", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        first: list[pulumi.Resource] = []
        if args.egress is not None:
            first.append(_network_policy(name, args, args.egress, child))
        if args.certificate is not None:
            first.append(_certificate(name, args.certificate, args.gateway, child))
        if args.parameters is not None:
            first.append(custom_object(f"{name}-parameters", args.parameters, GATEWAY, child))
        # The limits are there before the pods are, and the policies before anything is routed.
        self.gateway = custom_object(
            name, gateway_object(args.gateway), GATEWAY, _after(child, first)
        )
        attached = [
            custom_object(f"{name}-{_slug(each)}", each, GATEWAY, _after(child, [self.gateway]))
            for each in (*args.answers, *args.policies)
        ]
        for route in args.routes:
            custom_object(f"{name}-{_slug(route)}", route, GATEWAY, _after(child, attached))
        self.register_outputs({"hostname": args.gateway.hostname})


def _after(
    opts: pulumi.ResourceOptions, resources: Sequence[pulumi.Resource]
) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(resources)))


def _slug(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind'].lower()}-{manifest['metadata']['name']}"


def _network_policy(
    name: str, args: EdgeArgs, egress: Sequence[Peer], opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    limits = network_policy(GATEWAY, egress=egress)
    return networking.v1.NetworkPolicy(
        name,
        metadata=metadata(GATEWAY, args.gateway.namespace),
        spec=networking.v1.NetworkPolicySpecArgs(
            pod_selector=meta.v1.LabelSelectorArgs(match_labels=dict(EDGE_LABELS)),
            policy_types=limits.policy_types,
            egress=limits.egress,
            # From anywhere: behind a load balancer the source is a node. Who may connect is for
            # the load balancer, by its source ranges.
            ingress=[
                networking.v1.NetworkPolicyIngressRuleArgs(
                    ports=[
                        networking.v1.NetworkPolicyPortArgs(protocol="TCP", port=port)
                        for port in ports(args.gateway)
                    ]
                )
            ],
        ),
        opts=opts,
    )


def _certificate(
    name: str,
    certificate: IssuedCertificate | CopiedCertificate,
    gateway: GatewaySpec,
    opts: pulumi.ResourceOptions,
) -> kubernetes.apiextensions.CustomResource:
    if isinstance(certificate, IssuedCertificate):
        manifest = _issued(certificate, gateway)
    else:
        manifest = _copied(certificate, gateway)
    return custom_object(f"{name}-certificate", manifest, GATEWAY, opts)


def _issued(certificate: IssuedCertificate, gateway: GatewaySpec) -> dict[str, Any]:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": CERTIFICATE, "namespace": gateway.namespace},
        "spec": {
            "secretName": CERTIFICATE,
            "dnsNames": [gateway.hostname],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": {
                "group": "cert-manager.io",
                "kind": certificate.issuer_kind,
                "name": certificate.issuer,
            },
        },
    }


def _copied(certificate: CopiedCertificate, gateway: GatewaySpec) -> dict[str, Any]:
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": CERTIFICATE, "namespace": gateway.namespace},
        "spec": {
            "refreshInterval": _REFRESHED,
            "secretStoreRef": {"kind": certificate.store_kind, "name": certificate.store},
            "target": {
                "name": CERTIFICATE,
                "creationPolicy": "Owner",
                "template": {"type": "kubernetes.io/tls"},
            },
            "data": [
                {"secretKey": part, "remoteRef": {"key": certificate.key, "property": part}}
                for part in ("tls.crt", "tls.key")
            ],
        },
    }
