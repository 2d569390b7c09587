"""The exporter: metrics of what lies in the registry and the warehouse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apps, core, meta, networking

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

_NAME = "pipeline-exporter"
_RESOURCES = Resources(cpu="50m", memory="256Mi", scratch="64Mi")


@dataclass(frozen=True, kw_only=True)
class ExporterArgs:
    """What to read, and who scrapes."""

    provider: kubernetes.Provider
    namespace: str
    image: str
    """Image of the serving environment, by digest."""
    config: str
    """JSON of `serving.exporter.config.ExporterConfig`."""
    port: int
    """The port that the configuration listens on."""
    egress: Sequence[Peer]
    """Where registry and warehouse are."""
    prometheus: PodPeer
    """The pods that scrape; its port is not used."""
    monitor_labels: Mapping[str, str]
    """Labels that the Prometheus of the cluster selects PodMonitors by."""


class Exporter(pulumi.ComponentResource):
    """Deployment, configuration, ServiceAccount, NetworkPolicy and PodMonitor."""

    service_account: core.v1.ServiceAccount
    """For a Pod Identity association with a role that only reads."""
    deployment: apps.v1.Deployment

    def __init__(
        self, name: str, args: ExporterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The exporter.
            opts: Options of the component.
        """
        super().__init__("pipeline:observability:Exporter", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.service_account = core.v1.ServiceAccount(
            name,
            metadata=metadata(_NAME, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        config = core.v1.ConfigMap(
            name,
            # Without a fixed name: another configuration is another object, which the pod follows.
            metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(_NAME)),
            immutable=True,
            data={"exporter.json": args.config},
            opts=child,
        )
        networking.v1.NetworkPolicy(
            name,
            metadata=metadata(_NAME, args.namespace),
            spec=network_policy(_NAME, egress=args.egress, ingress=[_scraper(args)]),
            opts=child,
        )
        self.deployment = apps.v1.Deployment(
            name,
            metadata=metadata(_NAME, args.namespace),
            spec=_spec(args, config.metadata.name, self.service_account.metadata.name),
            opts=child,
        )
        kubernetes.apiextensions.CustomResource(
            name,
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata=meta.v1.ObjectMetaArgs(
                name=_NAME,
                namespace=args.namespace,
                labels={**labels_of(_NAME), **args.monitor_labels},
            ),
            spec={
                "selector": {"matchLabels": {NAME_LABEL: _NAME}},
                "podMetricsEndpoints": [{"port": METRICS_PORT, "interval": "60s"}],
            },
            opts=child,
        )
        self.register_outputs({"deployment": self.deployment.metadata.name})


def _scraper(args: ExporterArgs) -> PodPeer:
    return PodPeer(
        namespace=args.prometheus.namespace, labels=args.prometheus.labels, port=args.port
    )


def _spec(
    args: ExporterArgs, config_map: pulumi.Input[str], service_account: pulumi.Input[str]
) -> apps.v1.DeploymentSpecArgs:
    container = Container(
        name=_NAME,
        image=args.image,
        command=(
            "python",
            "-m",
            "serving.exporter",
            "--config",
            f"{CONFIG_DIRECTORY}/exporter.json",
        ),
        resources=_RESOURCES,
        config_map=config_map,
        metrics_port=args.port,
    )
    return apps.v1.DeploymentSpecArgs(
        replicas=1,
        selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: _NAME}),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels_of(_NAME)),
            spec=pod_spec(container, service_account=service_account, restart="Always"),
        ),
    )
