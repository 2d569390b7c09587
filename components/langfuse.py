"""Langfuse from its chart, with nothing in it that the chart makes up."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta, networking

from components.charts import ChartSource, LockedChart, LockedChartArgs
from components.checks import image_by_digest
from components.langfuse_values import RELEASE, LangfuseSettings, values
from components.pods import Peer, PodPeer, labels_of, metadata, network_policy


@dataclass(frozen=True, kw_only=True)
class LangfuseArgs:
    """What runs, and who may reach it."""

    provider: kubernetes.Provider
    namespace: str
    chart: ChartSource
    settings: LangfuseSettings
    clients: Sequence[PodPeer]
    egress: Sequence[Peer]
    """Databases outside of the namespace; object storage is added."""
    operator: str | None
    """Namespace of the ClickHouse operator, which asks the pods that it made; None without one."""

    def __post_init__(self) -> None:
        for image in (self.settings.web_image, self.settings.worker_image):
            image_by_digest(image, RELEASE)


class Langfuse(pulumi.ComponentResource):
    """A release of the chart, and what its pods may reach."""

    def __init__(
        self, name: str, args: LangfuseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: Langfuse.
            opts: Options of the component; what must stand before the first pod (secrets, the role
                of its account, the operator) belongs into `depends_on`.
        """
        super().__init__("pipeline:services:Langfuse", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        policies = [_policy(name, args, child), _inside(name, args, child)]
        chart = LockedChart(
            name,
            LockedChartArgs(
                provider=args.provider,
                release=RELEASE,
                source=args.chart,
                namespace=args.namespace,
                pod_security=None,
                values=values(args.settings),
            ),
            pulumi.ResourceOptions(parent=self, depends_on=policies),
        )
        _keep_upgradable(name, args, chart.installed, child)
        self.register_outputs({})


def _policy(
    name: str, args: LangfuseArgs, opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    """What web and worker may reach, and who may reach them."""
    return networking.v1.NetworkPolicy(
        name,
        metadata=metadata(RELEASE, args.namespace),
        # The chart labels both with the name of this policy.
        spec=network_policy(
            RELEASE,
            egress=[*args.egress, *args.settings.object_store.peers],
            ingress=args.clients,
        ),
        opts=opts,
    )


def _inside(
    name: str, args: LangfuseArgs, opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    """Pods of the namespace reach each other: Langfuse, ClickHouse and its Keeper."""
    here = networking.v1.NetworkPolicyPeerArgs(pod_selector=meta.v1.LabelSelectorArgs())
    inside = f"{RELEASE}-inside"
    return networking.v1.NetworkPolicy(
        f"{name}-inside",
        metadata=meta.v1.ObjectMetaArgs(
            name=inside, namespace=args.namespace, labels=labels_of(inside)
        ),
        spec=networking.v1.NetworkPolicySpecArgs(
            pod_selector=meta.v1.LabelSelectorArgs(),
            policy_types=["Ingress", "Egress"],
            ingress=[
                networking.v1.NetworkPolicyIngressRuleArgs(from_=[here]),
                *_operator_rules(args.operator),
            ],
            egress=[networking.v1.NetworkPolicyEgressRuleArgs(to=[here])],
        ),
        opts=opts,
    )


def _operator_rules(
    namespace: str | None,
) -> list[networking.v1.NetworkPolicyIngressRuleArgs]:
    if namespace is None:
        return []
    source = networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=meta.v1.LabelSelectorArgs(
            match_labels={"kubernetes.io/metadata.name": namespace}
        )
    )
    return [networking.v1.NetworkPolicyIngressRuleArgs(from_=[source])]


def _keep_upgradable(
    name: str, args: LangfuseArgs, release: pulumi.Resource, opts: pulumi.ResourceOptions
) -> None:
    """Put a value into the Secret that the chart makes, and would leave empty.

    With every secret pinned it has no `data`, and chart 2.0.0 fails on that at the next upgrade
    (`index of untyped nil`, langfuse-k8s #398; mended after 2.0.0).
    """
    core.v1.SecretPatch(
        f"{name}-app",
        metadata=meta.v1.ObjectMetaPatchArgs(
            name=f"{RELEASE}-app",
            namespace=args.namespace,
            annotations={"pulumi.com/patchForce": "true"},
        ),
        string_data={"pinned": "every secret is pinned"},
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[release])),
    )
