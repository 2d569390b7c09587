"""The pod of a router: the router, cluster-watch beside it, and the shipper that outlives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_kubernetes import core, meta

from components.pods import (
    CONFIG_DIRECTORY,
    NAME_LABEL,
    SCRATCH,
    Resources,
    SecretKey,
    container_security,
    pod_security,
    secret_variable,
)

EVALUATION_KEY: Final = f"{CONFIG_DIRECTORY}/evaluation.pub"
DISCOVERED: Final = "/var/run/pipeline"
DOMAINS: Final = f"{DISCOVERED}/domains"
SERVERS: Final = f"{DISCOVERED}/pools"
_LEDGER_VOLUME: Final = "ledger"
_LEDGER_MOUNT: Final = "/var/lib/pipeline"
LEDGER: Final = f"{_LEDGER_MOUNT}/ledger"
"""A folder of the volume: its root belongs to the file system."""
HTTP: Final = "http"
HTTP_PORT: Final = 8080
WATCH: Final = "watch"
WATCH_PORT: Final = 8081
_TOKEN_MOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a place
_TOKEN_S: Final = 3607
_FOUND_LIMIT: Final = "64Mi"
_WATCH_RESOURCES: Final = Resources(cpu="20m", memory="192Mi", scratch="16Mi")
_SHIPPER_RESOURCES: Final = Resources(cpu="100m", memory="1Gi", scratch="2Gi")


@dataclass(frozen=True, kw_only=True)
class RouterPod:
    """What the pods of one router have."""

    service: str
    image: str
    """Image of the serving environment, by digest."""
    resources: Resources
    """Of the router itself."""
    environment: Mapping[str, str]
    """Of router and shipper: where object storage is."""
    storage_secrets: Mapping[str, SecretKey]
    """Of router and shipper: credentials for object storage, where no agent gives them."""
    router_secrets: Mapping[str, SecretKey]
    """Of the router: what its tracing configuration names."""
    termination_s: int


def pod_spec(
    pod: RouterPod, *, service_account: pulumi.Input[str], config_map: pulumi.Input[str]
) -> core.v1.PodSpecArgs:
    """The pod, without the volume of its ledger: a StatefulSet adds that."""
    return core.v1.PodSpecArgs(
        service_account_name=service_account,
        # Cluster-watch mounts its token itself: no other container has one.
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=pod.termination_s,
        security_context=_security(),
        topology_spread_constraints=[
            _spread(pod.service, "topology.kubernetes.io/zone"),
            _spread(pod.service, "kubernetes.io/hostname"),
        ],
        # Sidecars: they start before the router, and end after it has drained.
        init_containers=[_cluster_watch(pod), _shipper(pod)],
        containers=[_router(pod)],
        volumes=[
            core.v1.VolumeArgs(
                name="config", config_map=core.v1.ConfigMapVolumeSourceArgs(name=config_map)
            ),
            _empty("discovered", _FOUND_LIMIT),
            _empty("router-scratch", pod.resources.scratch),
            _empty("watch-scratch", _WATCH_RESOURCES.scratch),
            _empty("shipper-scratch", _SHIPPER_RESOURCES.scratch),
            _token(),
        ],
    )


def ledger_claim(
    size_gib: int, storage_class: str | None, labels: Mapping[str, str]
) -> core.v1.PersistentVolumeClaimArgs:
    """The claim of each pod's ledger volume."""
    return core.v1.PersistentVolumeClaimArgs(
        metadata=meta.v1.ObjectMetaArgs(name=_LEDGER_VOLUME, labels=dict(labels)),
        spec=core.v1.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            storage_class_name=storage_class,
            resources=core.v1.VolumeResourceRequirementsArgs(requests={"storage": f"{size_gib}Gi"}),
        ),
    )


def _security() -> core.v1.PodSecurityContextArgs:
    security = pod_security()
    # A ledger of many segments would be walked through at each start otherwise.
    security.fs_group_change_policy = "OnRootMismatch"
    return security


def _router(pod: RouterPod) -> core.v1.ContainerArgs:
    return core.v1.ContainerArgs(
        name="router",
        image=pod.image,
        command=_command("serving.router", "router.json"),
        env=_variables(pod.environment, {**pod.storage_secrets, **pod.router_secrets}),
        ports=[core.v1.ContainerPortArgs(name=HTTP, container_port=HTTP_PORT)],
        startup_probe=_probe("/healthz", HTTP, period_s=2, failures=150),
        readiness_probe=_probe("/readyz", HTTP, period_s=5, failures=2),
        liveness_probe=_probe("/healthz", HTTP, period_s=10, failures=6),
        resources=_resources(pod.resources),
        security_context=container_security(),
        volume_mounts=[
            _config_mount(),
            _mount("router-scratch", SCRATCH),
            _mount("discovered", DISCOVERED, read_only=True),
            _mount(_LEDGER_VOLUME, _LEDGER_MOUNT),
        ],
    )


def _cluster_watch(pod: RouterPod) -> core.v1.ContainerArgs:
    return core.v1.ContainerArgs(
        name="cluster-watch",
        image=pod.image,
        command=_command("serving.cluster_watch", "cluster-watch.json"),
        restart_policy="Always",
        ports=[core.v1.ContainerPortArgs(name=WATCH, container_port=WATCH_PORT)],
        # The router starts when everything was listed once: it knows every tenant from then on.
        startup_probe=_probe("/readyz", WATCH, period_s=1, failures=300),
        liveness_probe=_probe("/healthz", WATCH, period_s=10, failures=6),
        resources=_resources(_WATCH_RESOURCES),
        security_context=container_security(),
        volume_mounts=[
            _config_mount(),
            _mount("watch-scratch", SCRATCH),
            _mount("discovered", DISCOVERED),
            _mount("token", _TOKEN_MOUNT, read_only=True),
        ],
    )


def _shipper(pod: RouterPod) -> core.v1.ContainerArgs:
    """The shipper. It listens nowhere, so it has no probe: what it lacks shows in the warehouse."""
    return core.v1.ContainerArgs(
        name="shipper",
        image=pod.image,
        command=_command("serving.ledger.shipping", "shipper.json"),
        restart_policy="Always",
        env=_variables(pod.environment, pod.storage_secrets),
        resources=_resources(_SHIPPER_RESOURCES),
        security_context=container_security(),
        volume_mounts=[
            _config_mount(),
            _mount("shipper-scratch", SCRATCH),
            _mount(_LEDGER_VOLUME, _LEDGER_MOUNT, read_only=True),
        ],
    )


def _command(module: str, file: str) -> list[str]:
    return ["python", "-m", module, "--config", f"{CONFIG_DIRECTORY}/{file}"]


def _variables(
    plain: Mapping[str, str], secrets: Mapping[str, SecretKey]
) -> Sequence[core.v1.EnvVarArgs]:
    return [
        *(core.v1.EnvVarArgs(name=name, value=value) for name, value in plain.items()),
        *(secret_variable(name, key) for name, key in secrets.items()),
    ]


def _resources(resources: Resources) -> core.v1.ResourceRequirementsArgs:
    held = {"memory": resources.memory, "ephemeral-storage": resources.scratch}
    return core.v1.ResourceRequirementsArgs(requests={"cpu": resources.cpu, **held}, limits=held)


def _probe(path: str, port: str, *, period_s: int, failures: int) -> core.v1.ProbeArgs:
    return core.v1.ProbeArgs(
        http_get=core.v1.HTTPGetActionArgs(path=path, port=port),
        period_seconds=period_s,
        failure_threshold=failures,
        timeout_seconds=3,
    )


def _config_mount() -> core.v1.VolumeMountArgs:
    return _mount("config", CONFIG_DIRECTORY, read_only=True)


def _mount(volume: str, path: str, *, read_only: bool = False) -> core.v1.VolumeMountArgs:
    return core.v1.VolumeMountArgs(name=volume, mount_path=path, read_only=read_only)


def _empty(name: str, limit: str) -> core.v1.VolumeArgs:
    return core.v1.VolumeArgs(
        name=name, empty_dir=core.v1.EmptyDirVolumeSourceArgs(size_limit=limit)
    )


def _token() -> core.v1.VolumeArgs:
    """What Kubernetes mounts into a pod that asks for its token, for the one that may use it."""
    namespace = core.v1.DownwardAPIVolumeFileArgs(
        path="namespace",
        field_ref=core.v1.ObjectFieldSelectorArgs(field_path="metadata.namespace"),
    )
    return core.v1.VolumeArgs(
        name="token",
        projected=core.v1.ProjectedVolumeSourceArgs(
            sources=[
                core.v1.VolumeProjectionArgs(
                    service_account_token=core.v1.ServiceAccountTokenProjectionArgs(
                        path="token", expiration_seconds=_TOKEN_S
                    )
                ),
                core.v1.VolumeProjectionArgs(
                    config_map=core.v1.ConfigMapProjectionArgs(
                        name="kube-root-ca.crt",
                        items=[core.v1.KeyToPathArgs(key="ca.crt", path="ca.crt")],
                    )
                ),
                core.v1.VolumeProjectionArgs(
                    downward_api=core.v1.DownwardAPIProjectionArgs(items=[namespace])
                ),
            ]
        ),
    )


def _spread(service: str, key: str) -> core.v1.TopologySpreadConstraintArgs:
    return core.v1.TopologySpreadConstraintArgs(
        max_skew=1,
        topology_key=key,
        # A cluster of one node must run them too.
        when_unsatisfiable="ScheduleAnyway",
        label_selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: service}),
    )
