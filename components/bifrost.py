"""Bifrost between the router and the pools: its pods, its file, and who may reach what.

Plain objects and not the chart of its makers: the chart turns values into the same file by rules of
its own, and what is declared here is what the tests read. The file is a ConfigMap, so that a
preview shows each change of it: secrets in it are names of variables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apps, core, meta, networking, policy

from components.background_service import Scraping
from components.checks import image_by_digest
from components.pods import (
    NAME_LABEL,
    SCRATCH,
    Peer,
    PodPeer,
    SecretKey,
    container_security,
    labels_of,
    metadata,
    network_policy,
    secret_variable,
)

SERVICE: Final = "bifrost"
"""Name of the Service, and of everything that belongs to it."""
PORT: Final = 8080
"""The API, /health and /metrics."""
_HTTP: Final = "http"
_APP_DIR: Final = "/app/data"
_USER: Final = 1000
"""Of the image."""
_SCRATCH_SIZE: Final = "256Mi"
_PRE_STOP_S: Final = 15
"""For endpoints to be taken out before the process is told to end."""
_START_S: Final = 300
"""Migrations of its database come before the first answer."""
_PROBE_S: Final = 10
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class BifrostArgs:
    """What runs, and what it may reach."""

    provider: kubernetes.Provider
    namespace: str
    image: str
    """By digest."""
    replicas: int
    files: Mapping[str, str]
    """Content of the files in its directory, by name."""
    secrets: Mapping[str, SecretKey]
    """Variables that the configuration names."""
    cpu: str
    memory_mib: int
    answer_limit_s: int
    """Longest answer: a pod that ends waits for those that it has begun."""
    clients: Sequence[PodPeer]
    """Who may send requests: the router alone."""
    egress: Sequence[Peer]
    """Pools, and Postgres where there is one."""
    scraping: Scraping | None
    """None where no Prometheus operator is; the port of its peer is not used."""

    def __post_init__(self) -> None:
        image_by_digest(self.image, SERVICE)


class Bifrost(pulumi.ComponentResource):
    """Deployment, Service, configuration, ServiceAccount, NetworkPolicy, budget, PodMonitor."""

    url: str
    """Inside the cluster, without `/v1`."""

    def __init__(
        self, name: str, args: BifrostArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The gateway.
            opts: Options of the component.
        """
        super().__init__("pipeline:serving:Bifrost", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.url = f"http://{SERVICE}.{args.namespace}.svc.cluster.local:{PORT}"
        account = core.v1.ServiceAccount(
            name,
            metadata=metadata(SERVICE, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        config = core.v1.ConfigMap(
            name,
            # Without a fixed name: another configuration is another object, which the pods follow.
            metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(SERVICE)),
            immutable=True,
            data=dict(args.files),
            opts=child,
        )
        limits = _network_policy(name, args, child)
        _service(name, args.namespace, child)
        _budget(name, args.namespace, child)
        apps.v1.Deployment(
            name,
            metadata=metadata(SERVICE, args.namespace),
            spec=_spec(args, config.metadata.name, account.metadata.name),
            # The pods must not start before their limits stand.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[limits])),
        )
        if args.scraping is not None:
            _pod_monitor(name, args.namespace, args.scraping, child)
        self.register_outputs({"url": self.url})


def _network_policy(
    name: str, args: BifrostArgs, opts: pulumi.ResourceOptions
) -> networking.v1.NetworkPolicy:
    ingress = list(args.clients)
    if args.scraping is not None:
        prometheus = args.scraping.prometheus
        ingress.append(PodPeer(namespace=prometheus.namespace, labels=prometheus.labels, port=PORT))
    return networking.v1.NetworkPolicy(
        name,
        metadata=metadata(SERVICE, args.namespace),
        spec=network_policy(SERVICE, egress=args.egress, ingress=ingress),
        opts=opts,
    )


def _service(name: str, namespace: str, opts: pulumi.ResourceOptions) -> None:
    core.v1.Service(
        name,
        metadata=metadata(SERVICE, namespace),
        spec=core.v1.ServiceSpecArgs(
            selector={NAME_LABEL: SERVICE},
            ports=[core.v1.ServicePortArgs(name=_HTTP, port=PORT, target_port=_HTTP)],
        ),
        opts=opts,
    )


def _budget(name: str, namespace: str, opts: pulumi.ResourceOptions) -> None:
    policy.v1.PodDisruptionBudget(
        name,
        metadata=metadata(SERVICE, namespace),
        spec=policy.v1.PodDisruptionBudgetSpecArgs(
            # Not a minimum: a single pod would keep its node from ever being drained.
            max_unavailable=1,
            selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: SERVICE}),
        ),
        opts=opts,
    )


def _spec(
    args: BifrostArgs, config_map: pulumi.Input[str], service_account: pulumi.Input[str]
) -> apps.v1.DeploymentSpecArgs:
    return apps.v1.DeploymentSpecArgs(
        replicas=args.replicas,
        strategy=apps.v1.DeploymentStrategyArgs(
            type="RollingUpdate",
            rolling_update=apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
        ),
        selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: SERVICE}),
        template=core.v1.PodTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels_of(SERVICE)),
            spec=_pod(args, config_map, service_account),
        ),
    )


def _pod(
    args: BifrostArgs, config_map: pulumi.Input[str], service_account: pulumi.Input[str]
) -> core.v1.PodSpecArgs:
    return core.v1.PodSpecArgs(
        service_account_name=service_account,
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=_PRE_STOP_S + args.answer_limit_s,
        security_context=core.v1.PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            seccomp_profile=core.v1.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        topology_spread_constraints=[
            core.v1.TopologySpreadConstraintArgs(
                max_skew=1,
                topology_key="topology.kubernetes.io/zone",
                when_unsatisfiable="ScheduleAnyway",
                label_selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: SERVICE}),
            )
        ],
        containers=[_container(args)],
        volumes=[
            core.v1.VolumeArgs(
                name="config", config_map=core.v1.ConfigMapVolumeSourceArgs(name=config_map)
            ),
            *(_scratch(name) for name in ("data", "scratch")),
        ],
    )


def _scratch(name: str) -> core.v1.VolumeArgs:
    return core.v1.VolumeArgs(
        name=name, empty_dir=core.v1.EmptyDirVolumeSourceArgs(size_limit=_SCRATCH_SIZE)
    )


def _container(args: BifrostArgs) -> core.v1.ContainerArgs:
    held = {"memory": f"{args.memory_mib}Mi", "ephemeral-storage": _SCRATCH_SIZE}
    return core.v1.ContainerArgs(
        name=SERVICE,
        # With the image's own entry point, which reads these variables.
        image=args.image,
        env=[
            core.v1.EnvVarArgs(name="APP_DIR", value=_APP_DIR),
            core.v1.EnvVarArgs(name="APP_PORT", value=str(PORT)),
            # Go does not know the limit of its container: it must collect before it is killed.
            core.v1.EnvVarArgs(name="GOMEMLIMIT", value=str(args.memory_mib * _MIB * 9 // 10)),
            *(secret_variable(name, key) for name, key in args.secrets.items()),
        ],
        ports=[core.v1.ContainerPortArgs(name=_HTTP, container_port=PORT)],
        startup_probe=_probe(failures=_START_S // _PROBE_S),
        readiness_probe=_probe(failures=2),
        liveness_probe=_probe(failures=6),
        lifecycle=core.v1.LifecycleArgs(
            pre_stop=core.v1.LifecycleHandlerArgs(
                sleep=core.v1.SleepActionArgs(seconds=_PRE_STOP_S)
            )
        ),
        resources=core.v1.ResourceRequirementsArgs(requests={"cpu": args.cpu, **held}, limits=held),
        security_context=container_security(),
        volume_mounts=[
            core.v1.VolumeMountArgs(name="data", mount_path=_APP_DIR),
            core.v1.VolumeMountArgs(name="scratch", mount_path=SCRATCH),
            *(
                core.v1.VolumeMountArgs(
                    name="config", mount_path=f"{_APP_DIR}/{file}", sub_path=file, read_only=True
                )
                for file in args.files
            ),
        ],
    )


def _probe(*, failures: int) -> core.v1.ProbeArgs:
    return core.v1.ProbeArgs(
        http_get=core.v1.HTTPGetActionArgs(path="/health", port=_HTTP),
        period_seconds=_PROBE_S,
        timeout_seconds=5,
        failure_threshold=failures,
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
            "podMetricsEndpoints": [{"port": _HTTP, "path": "/metrics"}],
        },
        opts=opts,
    )
