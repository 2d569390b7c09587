"""A pool of model servers: pods of vLLM behind Envoy, with adapter-sync beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apiextensions, apps, core, meta, networking, policy

from components.adapter_sidecar import STATUS_PORT, AdapterSidecar, adapter_sidecar
from components.engine_gateway import INFERENCE_PORT, EngineGateway, gateway_sidecar
from components.model_engine import (
    Engine,
    Nodes,
    engine_container,
    engine_volumes,
    node_affinity,
    node_selector,
    node_tolerations,
)
from components.pods import (
    METRICS_PORT,
    NAME_LABEL,
    PodPeer,
    labels_of,
    network_policy,
    pod_security,
)
from serving.pod_reports.config import POOL_LABEL

_ROLLOUT_S = 600
"""For nodes to come and images to be pulled, beyond the start of vLLM."""


@dataclass(frozen=True, kw_only=True)
class PodGroup:
    """Pods of a namespace; empty labels mean all of them."""

    namespace: str
    labels: Mapping[str, str]

    def at(self, port: int) -> PodPeer:
        """These pods, on a port."""
        return PodPeer(namespace=self.namespace, labels=self.labels, port=port)


@dataclass(frozen=True, kw_only=True)
class PoolClients:
    """Who may reach the pods of a pool."""

    inference: Sequence[PodGroup]
    """Send requests."""
    discovery: Sequence[PodGroup]
    """Ask which adapters a server holds."""
    scrapers: Sequence[PodGroup]
    """Read metrics."""


@dataclass(frozen=True, kw_only=True)
class ModelPoolArgs:
    """What a pool serves, how, and to whom."""

    provider: kubernetes.Provider
    namespace: str
    pool: str
    """slm or llm."""
    engine: Engine
    gateway: EngineGateway
    sidecar: AdapterSidecar
    files: Mapping[str, pulumi.Input[str]]
    """Configuration of the three containers, by file name."""
    nodes: Nodes
    replicas: int
    is_scaled: bool
    """Whether KEDA says how many servers there are; `replicas` is then the first number only."""
    surge: bool
    """Whether an update may have one server more for a while."""
    clients: PoolClients
    monitor_labels: Mapping[str, str] | None
    """Labels that Prometheus selects PodMonitors by; None without Prometheus' operator."""

    @property
    def workload(self) -> str:
        """Name of the Deployment, ServiceAccount and everything else of the pool."""
        return f"vllm-{self.pool}"


class ModelPool(pulumi.ComponentResource):
    """Deployment, two Services, and what keeps them available and apart."""

    deployment: apps.v1.Deployment
    """What a scaler resizes."""

    def __init__(
        self, name: str, args: ModelPoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The pool.
            opts: Options of the component.
        """
        super().__init__("pipeline:serving:ModelPool", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        account = core.v1.ServiceAccount(
            name,
            metadata=_metadata(args, args.workload),
            automount_service_account_token=False,
            opts=child,
        )
        isolation = networking.v1.NetworkPolicy(
            name, metadata=_metadata(args, args.workload), spec=_network(args), opts=child
        )
        self.deployment = _deployment(name, args, account, isolation, child)
        policy.v1.PodDisruptionBudget(
            name,
            metadata=_metadata(args, args.workload),
            spec=policy.v1.PodDisruptionBudgetSpecArgs(max_unavailable=1, selector=_selector(args)),
            opts=child,
        )
        service = _service(name, args, child)
        pods_service = _pods_service(f"{name}-pods", args, child)
        if args.monitor_labels is not None:
            _pod_monitor(name, args, args.monitor_labels, child)
        self.register_outputs(
            {
                "deployment": self.deployment.metadata.name,
                "service": service.metadata.name,
                "pods_service": pods_service.metadata.name,
            }
        )


def _labels(args: ModelPoolArgs) -> dict[str, str]:
    return {**labels_of(args.workload), "app": args.workload, POOL_LABEL: args.pool}


def _metadata(args: ModelPoolArgs, name: str) -> meta.v1.ObjectMetaArgs:
    return meta.v1.ObjectMetaArgs(name=name, namespace=args.namespace, labels=_labels(args))


def _selector(args: ModelPoolArgs) -> meta.v1.LabelSelectorArgs:
    return meta.v1.LabelSelectorArgs(match_labels={"app": args.workload})


def _deployment(
    name: str,
    args: ModelPoolArgs,
    account: core.v1.ServiceAccount,
    isolation: networking.v1.NetworkPolicy,
    opts: pulumi.ResourceOptions,
) -> apps.v1.Deployment:
    config = core.v1.ConfigMap(
        name,
        # Without a fixed name: another configuration is another object, which the pods follow.
        metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=_labels(args)),
        immutable=True,
        data=dict(args.files),
        opts=opts,
    )
    patience = args.engine.start_limit_s + args.engine.termination_s + _ROLLOUT_S
    timeouts = pulumi.CustomTimeouts(
        create=f"{patience}s", update=f"{patience * args.replicas}s", delete=f"{patience}s"
    )
    return apps.v1.Deployment(
        name,
        metadata=_metadata(args, args.workload),
        spec=apps.v1.DeploymentSpecArgs(
            replicas=args.replicas,
            progress_deadline_seconds=patience,
            strategy=_strategy(surge=args.surge),
            selector=_selector(args),
            template=core.v1.PodTemplateSpecArgs(
                metadata=meta.v1.ObjectMetaArgs(labels=_labels(args)),
                spec=_pod(args, config.metadata.name, account.metadata.name),
            ),
        ),
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                # The pods must not start before their limits stand.
                depends_on=[isolation],
                custom_timeouts=timeouts,
                ignore_changes=["spec.replicas"] if args.is_scaled else None,
            ),
        ),
    )


def _strategy(*, surge: bool) -> apps.v1.DeploymentStrategyArgs:
    more, fewer = (1, 0) if surge else (0, 1)
    return apps.v1.DeploymentStrategyArgs(
        type="RollingUpdate",
        rolling_update=apps.v1.RollingUpdateDeploymentArgs(max_surge=more, max_unavailable=fewer),
    )


def _pod(
    args: ModelPoolArgs, config: pulumi.Input[str], account: pulumi.Input[str]
) -> core.v1.PodSpecArgs:
    return core.v1.PodSpecArgs(
        service_account_name=account,
        # Roles come through EKS Pod Identity, which mounts a token of its own.
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=pod_security(),
        termination_grace_period_seconds=args.engine.termination_s,
        init_containers=[gateway_sidecar(args.gateway), adapter_sidecar(args.sidecar)],
        containers=[engine_container(args.engine, args.gateway.inference_port)],
        volumes=[*_volumes(args, config), *engine_volumes(args.engine)],
        node_selector=node_selector(args.nodes) or None,
        affinity=node_affinity(args.nodes),
        tolerations=node_tolerations(args.nodes),
        topology_spread_constraints=[
            core.v1.TopologySpreadConstraintArgs(
                max_skew=1,
                topology_key="topology.kubernetes.io/zone",
                # Reserved capacity is in one zone: a second server there is better than none.
                when_unsatisfiable="ScheduleAnyway",
                label_selector=_selector(args),
            )
        ],
    )


def _volumes(args: ModelPoolArgs, config: pulumi.Input[str]) -> list[core.v1.VolumeArgs]:
    scratch = core.v1.EmptyDirVolumeSourceArgs(size_limit=f"{args.engine.scratch_gib}Gi")
    adapters = core.v1.EmptyDirVolumeSourceArgs(size_limit=f"{args.engine.adapters_gib}Gi")
    return [
        core.v1.VolumeArgs(
            name="config", config_map=core.v1.ConfigMapVolumeSourceArgs(name=config)
        ),
        core.v1.VolumeArgs(name="scratch", empty_dir=scratch),
        core.v1.VolumeArgs(name="adapters", empty_dir=adapters),
    ]


def _network(args: ModelPoolArgs) -> networking.v1.NetworkPolicySpecArgs:
    clients, status = args.clients, args.sidecar.port
    ingress = [
        *(each.at(args.gateway.inference_port) for each in clients.inference),
        *(each.at(status) for each in clients.discovery),
        *(each.at(args.gateway.metrics_port) for each in clients.scrapers),
        *(each.at(status) for each in clients.scrapers),
    ]
    return network_policy(args.workload, egress=args.sidecar.object_store.peers, ingress=ingress)


def _service(name: str, args: ModelPoolArgs, opts: pulumi.ResourceOptions) -> core.v1.Service:
    port = core.v1.ServicePortArgs(
        name=INFERENCE_PORT,
        port=args.gateway.inference_port,
        target_port=args.gateway.inference_port,
        protocol="TCP",
    )
    return core.v1.Service(
        name,
        # A pool that is scaled to zero has no endpoint to wait for.
        metadata=_service_metadata(args, f"{args.workload}-svc"),
        spec=core.v1.ServiceSpecArgs(selector={"app": args.workload}, ports=[port]),
        opts=opts,
    )


def _pods_service(name: str, args: ModelPoolArgs, opts: pulumi.ResourceOptions) -> core.v1.Service:
    ports = {
        INFERENCE_PORT: args.gateway.inference_port,
        STATUS_PORT: args.sidecar.port,
        METRICS_PORT: args.gateway.metrics_port,
    }
    return core.v1.Service(
        name,
        metadata=_service_metadata(args, f"{args.workload}-pods"),
        spec=core.v1.ServiceSpecArgs(
            cluster_ip="None",
            selector={"app": args.workload},
            ports=[
                core.v1.ServicePortArgs(name=each, port=port, target_port=port, protocol="TCP")
                for each, port in ports.items()
            ],
        ),
        opts=opts,
    )


def _service_metadata(args: ModelPoolArgs, name: str) -> meta.v1.ObjectMetaArgs:
    return meta.v1.ObjectMetaArgs(
        name=name,
        namespace=args.namespace,
        labels=_labels(args),
        annotations={"pulumi.com/skipAwait": "true"},
    )


def _pod_monitor(
    name: str, args: ModelPoolArgs, labels: Mapping[str, str], opts: pulumi.ResourceOptions
) -> None:
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {NAME_LABEL: args.workload}},
        "podTargetLabels": [POOL_LABEL],
        "podMetricsEndpoints": [{"port": METRICS_PORT}, {"port": STATUS_PORT}],
    }
    apiextensions.CustomResource(
        name,
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        metadata=meta.v1.ObjectMetaArgs(
            name=args.workload, namespace=args.namespace, labels={**_labels(args), **labels}
        ),
        spec=spec,
        opts=opts,
    )
