"""A process beside the request path: exporter of metrics, sampler of counters, reporter of pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apps, core, meta, networking

from components.object_store import ObjectStoreAccess
from components.pods import (
    CONFIG_DIRECTORY,
    METRICS_PORT,
    NAME_LABEL,
    Container,
    Peer,
    PodPeer,
    Resources,
    labels_of,
    metadata,
    network_policy,
    pod_spec,
)


@dataclass(frozen=True, kw_only=True)
class Scraping:
    """How Prometheus reaches the process."""

    prometheus: PodPeer
    """The pods that scrape, and the port that they find the metrics on."""
    monitor_labels: Mapping[str, str]
    """Labels that the Prometheus of the cluster selects PodMonitors by."""


@dataclass(frozen=True, kw_only=True)
class BackgroundServiceArgs:
    """What runs, and what it may reach."""

    provider: kubernetes.Provider
    namespace: str
    service: str
    """Name of the Deployment and of everything that belongs to it."""
    image: str
    """Image of the serving environment, by digest."""
    module: str
    """Python module that is started with `--config`."""
    config: str
    """JSON of the module's configuration."""
    resources: Resources
    egress: Sequence[Peer]
    object_store: ObjectStoreAccess = field(default_factory=ObjectStoreAccess)
    """Its peers are reached as well."""
    scraping: Scraping | None = None
    """None for a process without metrics."""
    asks_kubernetes: bool = False
    """Whether it has a token for the API of the cluster; what it may ask is for a Role to say."""


class BackgroundService(pulumi.ComponentResource):
    """Deployment of one pod, its configuration, ServiceAccount, NetworkPolicy and PodMonitor."""

    service_account: core.v1.ServiceAccount
    """Who its pod is: for a binding of what it may ask the API."""

    def __init__(
        self, name: str, args: BackgroundServiceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The service.
            opts: Options of the component.
        """
        super().__init__("pipeline:kubernetes:BackgroundService", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.service_account = core.v1.ServiceAccount(
            name,
            metadata=metadata(args.service, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        config = _config_map(name, args, child)
        ingress = () if args.scraping is None else (args.scraping.prometheus,)
        policy = networking.v1.NetworkPolicy(
            name,
            metadata=metadata(args.service, args.namespace),
            spec=network_policy(
                args.service, egress=[*args.egress, *args.object_store.peers], ingress=ingress
            ),
            opts=child,
        )
        deployment = apps.v1.Deployment(
            name,
            metadata=metadata(args.service, args.namespace),
            spec=_spec(args, config.metadata.name, self.service_account.metadata.name),
            # The pod must not start before its limits stand.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[policy])),
        )
        if args.scraping is not None:
            _pod_monitor(name, args, args.scraping, child)
        self.register_outputs({"deployment": deployment.metadata.name})


def _config_map(
    name: str, args: BackgroundServiceArgs, opts: pulumi.ResourceOptions
) -> core.v1.ConfigMap:
    return core.v1.ConfigMap(
        name,
        # Without a fixed name: another configuration is another object, which the pod follows.
        metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(args.service)),
        immutable=True,
        data={"config.json": args.config},
        opts=opts,
    )


def _spec(
    args: BackgroundServiceArgs, config_map: pulumi.Input[str], service_account: pulumi.Input[str]
) -> apps.v1.DeploymentSpecArgs:
    container = Container(
        name=args.service,
        image=args.image,
        command=("python", "-m", args.module, "--config", f"{CONFIG_DIRECTORY}/config.json"),
        resources=args.resources,
        config_map=config_map,
        environment=args.object_store.environment,
        secrets=args.object_store.secrets,
        metrics_port=None if args.scraping is None else args.scraping.prometheus.port,
    )
    return apps.v1.DeploymentSpecArgs(
        replicas=1,
        # Two at once would sample and report twice.
        strategy=apps.v1.DeploymentStrategyArgs(type="Recreate"),
        selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: args.service}),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels_of(args.service)),
            spec=pod_spec(
                container,
                service_account=service_account,
                restart="Always",
                asks_kubernetes=args.asks_kubernetes,
            ),
        ),
    )


def _pod_monitor(
    name: str, args: BackgroundServiceArgs, scraping: Scraping, opts: pulumi.ResourceOptions
) -> None:
    kubernetes.apiextensions.CustomResource(
        name,
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata=meta.v1.ObjectMetaArgs(
            name=args.service,
            namespace=args.namespace,
            labels={**labels_of(args.service), **scraping.monitor_labels},
        ),
        spec={
            "selector": {"matchLabels": {NAME_LABEL: args.service}},
            "podMetricsEndpoints": [{"port": METRICS_PORT}],
        },
        opts=opts,
    )
