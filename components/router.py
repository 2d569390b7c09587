"""The router on Kubernetes: a StatefulSet whose pods keep a ledger each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apps, core, meta, networking, policy, rbac

from components.background_service import Scraping
from components.checks import image_by_digest
from components.object_store import ObjectStoreAccess
from components.pods import (
    NAME_LABEL,
    Peer,
    PodPeer,
    Resources,
    SecretKey,
    labels_of,
    metadata,
    network_policy,
)
from components.router_pod import (
    HTTP,
    HTTP_PORT,
    WATCH,
    WATCH_PORT,
    RouterPod,
    ledger_claim,
    pod_spec,
)

SERVICE: Final = "router"
"""Name of the router's Service, and of everything that belongs to it."""
PEERS: Final = f"{SERVICE}-pods"
"""Name of the headless Service that lists its pods."""
_RBAC: Final = "rbac.authorization.k8s.io"
_START_S: Final = 300
"""What a pod may take until it is ready; its volume may have to be made first."""


@dataclass(frozen=True, kw_only=True)
class RouterArgs:
    """What runs, on which volume, and what it may reach."""

    provider: kubernetes.Provider
    namespace: str
    image: str
    """Image of the serving environment, by digest."""
    replicas: int
    router: str
    """JSON of `serving.router.config.RouterConfig`, with the paths of `components.router_pod`."""
    cluster_watch: str
    """JSON of `serving.cluster_watch.config.ClusterWatchConfig`, likewise."""
    shipper: str
    """JSON of `serving.ledger.shipping.config.ShipperConfig`, likewise; its writer is the pod."""
    evaluation_public_key: pulumi.Input[str]
    """PEM; found at `EVALUATION_KEY`."""
    resources: Resources
    ledger_gib: int
    storage_class: str | None
    """None: the default class of the cluster."""
    termination_s: int
    """Above the longest answer and the time that shipping the last events takes."""
    object_store: ObjectStoreAccess
    """Where the registry and the warehouse are."""
    clients: Sequence[PodPeer]
    """The gateway's pods, which alone may send requests."""
    egress: Sequence[Peer]
    """Model servers, gateway behind the router, Kubernetes API, receiver of traces."""
    samplers: Sequence[PodPeer] = ()
    """Pods that read its counters for the reconciliation; the port of a peer is not used."""
    secrets: dict[str, SecretKey] = field(default_factory=dict)
    """Environment variables that the router's tracing and gateway configuration name."""
    scraping: Scraping | None = None
    """None where no Prometheus operator is; the port of its peer is not used."""

    def __post_init__(self) -> None:
        image_by_digest(self.image, SERVICE)


class RouterService(pulumi.ComponentResource):
    """StatefulSet with Services, ServiceAccount, Role, NetworkPolicy, budget and PodMonitor."""

    def __init__(
        self, name: str, args: RouterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The router.
            opts: Options of the component.
        """
        super().__init__("pipeline:serving:Router", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        account = core.v1.ServiceAccount(
            name,
            metadata=metadata(SERVICE, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        binding = _allow_watching(name, args.namespace, account, child)
        limits = _network_policy(name, args, child)
        service, peers = _services(name, args.namespace, child)
        apps.v1.StatefulSet(
            name,
            metadata=metadata(SERVICE, args.namespace),
            spec=_spec(
                args,
                config_map=_config_map(name, args, child).metadata.name,
                service_account=account.metadata.name,
                peers=peers.metadata.name,
            ),
            # The pods must not start before their limits stand, and cannot before they may watch.
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[limits, binding], custom_timeouts=_timeouts(args)
                ),
            ),
        )
        _budget(name, args.namespace, child)
        if args.scraping is not None:
            _pod_monitor(name, args.namespace, args.scraping, child)
        self.register_outputs({"service": service.metadata.name})


def _config_map(name: str, args: RouterArgs, opts: pulumi.ResourceOptions) -> core.v1.ConfigMap:
    return core.v1.ConfigMap(
        name,
        # Without a fixed name: another configuration is another object, which the pods follow.
        metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(SERVICE)),
        immutable=True,
        data={
            "router.json": args.router,
            "cluster-watch.json": args.cluster_watch,
            "shipper.json": args.shipper,
            "evaluation.pub": args.evaluation_public_key,
        },
        opts=opts,
    )


def _spec(
    args: RouterArgs,
    *,
    config_map: pulumi.Input[str],
    service_account: pulumi.Input[str],
    peers: pulumi.Input[str],
) -> apps.v1.StatefulSetSpecArgs:
    pod = RouterPod(
        service=SERVICE,
        image=args.image,
        resources=args.resources,
        environment=args.object_store.environment,
        storage_secrets=args.object_store.secrets,
        router_secrets=args.secrets,
        termination_s=args.termination_s,
    )
    return apps.v1.StatefulSetSpecArgs(
        replicas=args.replicas,
        service_name=peers,
        # Routers know nothing of each other: they start together. An update still takes one after
        # the other, and is not stuck behind a pod that cannot start.
        pod_management_policy="Parallel",
        update_strategy=apps.v1.StatefulSetUpdateStrategyArgs(type="RollingUpdate"),
        selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: SERVICE}),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels_of(SERVICE)),
            spec=pod_spec(pod, service_account=service_account, config_map=config_map),
        ),
        volume_claim_templates=[
            ledger_claim(args.ledger_gib, args.storage_class, labels_of(SERVICE))
        ],
        # A ledger is money: volumes outlive the pods, and the StatefulSet.
        persistent_volume_claim_retention_policy=(
            apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                when_deleted="Retain", when_scaled="Retain"
            )
        ),
    )


def _timeouts(args: RouterArgs) -> pulumi.CustomTimeouts:
    update_s = args.replicas * (args.termination_s + _START_S)
    return pulumi.CustomTimeouts(
        create=f"{2 * _START_S}s", update=f"{update_s}s", delete=f"{args.termination_s + 60}s"
    )


def _services(
    name: str, namespace: str, opts: pulumi.ResourceOptions
) -> tuple[core.v1.Service, core.v1.Service]:
    """What clients use, and what gives the pods of the StatefulSet their names."""
    port = core.v1.ServicePortArgs(name=HTTP, port=HTTP_PORT, target_port=HTTP, app_protocol="http")
    selector = {NAME_LABEL: SERVICE}
    service = core.v1.Service(
        name,
        metadata=metadata(SERVICE, namespace),
        spec=core.v1.ServiceSpecArgs(type="ClusterIP", selector=selector, ports=[port]),
        # It has endpoints when the pods are up, which come later.
        opts=opts,
    )
    peers = core.v1.Service(
        f"{name}-pods",
        metadata=meta.v1.ObjectMetaArgs(name=PEERS, namespace=namespace, labels=labels_of(SERVICE)),
        spec=core.v1.ServiceSpecArgs(cluster_ip="None", selector=selector, ports=[port]),
        opts=opts,
    )
    return service, peers


def _network_policy(
    name: str, args: RouterArgs, opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    ingress = [replace(each, port=HTTP_PORT) for each in (*args.clients, *args.samplers)]
    if args.scraping is not None:
        scraper = args.scraping.prometheus
        ingress += [replace(scraper, port=HTTP_PORT), replace(scraper, port=WATCH_PORT)]
    return networking.v1.NetworkPolicy(
        name,
        metadata=metadata(SERVICE, args.namespace),
        spec=network_policy(
            SERVICE, egress=[*args.egress, *args.object_store.peers], ingress=ingress
        ),
        opts=opts,
    )


def _allow_watching(
    name: str, namespace: str, account: core.v1.ServiceAccount, opts: pulumi.ResourceOptions
) -> rbac.v1.RoleBinding:
    """Let cluster-watch read what it writes as files. The namespace's ConfigMaps hold no secret."""
    verbs = ["list", "watch"]
    role = rbac.v1.Role(
        name,
        metadata=metadata(SERVICE, namespace),
        rules=[
            rbac.v1.PolicyRuleArgs(api_groups=[""], resources=["configmaps"], verbs=verbs),
            rbac.v1.PolicyRuleArgs(
                api_groups=["discovery.k8s.io"], resources=["endpointslices"], verbs=verbs
            ),
        ],
        opts=opts,
    )
    return rbac.v1.RoleBinding(
        name,
        metadata=metadata(SERVICE, namespace),
        role_ref=rbac.v1.RoleRefArgs(api_group=_RBAC, kind="Role", name=role.metadata.name),
        subjects=[
            rbac.v1.SubjectArgs(
                kind="ServiceAccount",
                name=account.metadata.name,
                namespace=account.metadata.namespace,
            )
        ],
        opts=opts,
    )


def _budget(name: str, namespace: str, opts: pulumi.ResourceOptions) -> None:
    policy.v1.PodDisruptionBudget(
        name,
        metadata=metadata(SERVICE, namespace),
        spec=policy.v1.PodDisruptionBudgetSpecArgs(
            max_unavailable=1,
            selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: SERVICE}),
        ),
        opts=opts,
    )


def _pod_monitor(
    name: str, namespace: str, scraping: Scraping, opts: pulumi.ResourceOptions
) -> None:
    kubernetes.apiextensions.CustomResource(
        name,
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata=meta.v1.ObjectMetaArgs(
            name=SERVICE,
            namespace=namespace,
            labels={**labels_of(SERVICE), **scraping.monitor_labels},
        ),
        spec={
            "selector": {"matchLabels": {NAME_LABEL: SERVICE}},
            "podMetricsEndpoints": [{"port": HTTP}, {"port": WATCH}],
        },
        opts=opts,
    )
