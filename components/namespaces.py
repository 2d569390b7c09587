"""Namespaces in which a pod reaches nothing, and is reached by nobody, that no policy names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta, networking

from components.pods import labels_of

PodSecurity = Literal["restricted", "baseline"]
_NAME = "pipeline-namespaces"
_DNS_PORT = 53


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    """Which namespaces, and how strict each is with its pods."""

    provider: kubernetes.Provider
    pod_security: Mapping[str, PodSecurity]
    """The pod security standard that is enforced, by name of the namespace."""
    exist: bool = False
    """Whether somebody else made them, with the Secrets in them: then only labels are added."""


class Namespaces(pulumi.ComponentResource):
    """Each namespace with its pod security standard, and policies that refuse all but DNS."""

    ready: tuple[pulumi.Resource, ...]
    """What must stand before the first pod."""

    def __init__(
        self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The namespaces.
            opts: Options of the component.
        """
        super().__init__("pipeline:kubernetes:Namespaces", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.ready = tuple(
            resource
            for namespace, standard in args.pod_security.items()
            for resource in _closed(namespace, standard, child, exists=args.exist)
        )
        self.register_outputs({"namespaces": sorted(args.pod_security)})


def _closed(
    namespace: str, standard: PodSecurity, opts: pulumi.ResourceOptions, *, exists: bool
) -> tuple[pulumi.Resource, ...]:
    made = _existing(namespace, standard, opts) if exists else _new(namespace, standard, opts)
    inside = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[made]))
    policy = networking.v1.NetworkPolicy(
        f"{namespace}-default",
        metadata=meta.v1.ObjectMetaArgs(
            name="default", namespace=namespace, labels=labels_of(_NAME)
        ),
        spec=_only_dns(),
        opts=inside,
    )
    return made, policy


def _new(namespace: str, standard: PodSecurity, opts: pulumi.ResourceOptions) -> core.v1.Namespace:
    return core.v1.Namespace(
        namespace,
        metadata=meta.v1.ObjectMetaArgs(name=namespace, labels=_labels(standard)),
        opts=opts,
    )


def _existing(
    namespace: str, standard: PodSecurity, opts: pulumi.ResourceOptions
) -> core.v1.NamespacePatch:
    return core.v1.NamespacePatch(
        namespace,
        metadata=meta.v1.ObjectMetaPatchArgs(
            name=namespace,
            labels=_labels(standard),
            # The labels may be set already, by whoever made the namespace.
            annotations={"pulumi.com/patchForce": "true"},
        ),
        opts=opts,
    )


def _labels(standard: PodSecurity) -> dict[str, str]:
    pod_security = "pod-security.kubernetes.io"
    return {
        **labels_of(_NAME),
        f"{pod_security}/enforce": standard,
        # What the next step up would refuse is shown to whoever applies it.
        f"{pod_security}/warn": "restricted",
        f"{pod_security}/audit": "restricted",
    }


def _only_dns() -> networking.v1.NetworkPolicySpecArgs:
    ports = [
        networking.v1.NetworkPolicyPortArgs(protocol=protocol, port=_DNS_PORT)
        for protocol in ("UDP", "TCP")
    ]
    dns = networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=meta.v1.LabelSelectorArgs(
            match_labels={"kubernetes.io/metadata.name": "kube-system"}
        ),
        pod_selector=meta.v1.LabelSelectorArgs(match_labels={"k8s-app": "kube-dns"}),
    )
    return networking.v1.NetworkPolicySpecArgs(
        pod_selector=meta.v1.LabelSelectorArgs(),
        policy_types=["Ingress", "Egress"],
        ingress=[],
        egress=[networking.v1.NetworkPolicyEgressRuleArgs(to=[dns], ports=ports)],
    )
