"""vLLM in a model pod: the container, and what it needs of the node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pulumi_kubernetes import core

from components.adapter_sidecar import ADAPTERS
from components.checks import image_by_digest
from components.pods import (
    CONFIG_DIRECTORY,
    SCRATCH,
    SecretKey,
    container_security,
    secret_variable,
)

DRAIN_FILE = "drain.py"
GPU = "nvidia.com/gpu"
_CACHE = "/cache"
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_PROBE_S = 10
_SETTLE_S = 15
"""In which routers learn from the EndpointSlices that a pod goes."""
_STOP_S = 60
"""For vLLM and the sidecars to end, once nothing runs any more."""


@dataclass(frozen=True, kw_only=True)
class ModelVolume:
    """A claim with the weights."""

    claim: str
    directory: str
    """Where it is mounted, read-only."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One vLLM server."""

    image: str
    """vLLM, by digest."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    cpu: str
    memory_mib: int
    """Request and limit; shared memory counts to it."""
    shared_memory_mib: int
    scratch_gib: int
    """Compiled kernels, and as much again for temporary files, on the node's disk."""
    adapters_gib: int
    """Adapters that adapter-sync downloads, on the node's disk."""
    gpus: int
    """0 on CPUs."""
    model_volume: ModelVolume | None
    metrics_url: str
    """Of vLLM on loopback: says when it has nothing to do."""
    start_limit_s: int
    longest_stream_s: int

    def __post_init__(self) -> None:
        image_by_digest(self.image, "Engine.image")

    @property
    def disk_gib(self) -> int:
        """Of all volumes of the pod: it is evicted when they hold more than its containers ask."""
        return 2 * self.scratch_gib + self.adapters_gib

    @property
    def drain_s(self) -> int:
        """What the end of a pod may take before its containers are told."""
        return _SETTLE_S + self.longest_stream_s

    @property
    def termination_s(self) -> int:
        """After which a pod is killed."""
        return self.drain_s + _STOP_S


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Where pods may run."""

    instance_types: Sequence[str] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[str] = ()
    """Keys of their NoSchedule taints."""


def engine_container(engine: Engine, probe_port: int) -> core.v1.ContainerArgs:
    """The container.

    Args:
        engine: The server; it listens on loopback.
        probe_port: Where Envoy lets the kubelet through to it; a name would have to be of a port
            of this very container.
    """
    health = core.v1.HTTPGetActionArgs(path="/health", port=probe_port)
    held = {
        "memory": f"{engine.memory_mib}Mi",
        "ephemeral-storage": f"{engine.disk_gib}Gi",
        **({GPU: str(engine.gpus)} if engine.gpus else {}),
    }
    return core.v1.ContainerArgs(
        name="vllm",
        image=engine.image,
        command=list(engine.command),
        env=[
            *(core.v1.EnvVarArgs(name=k, value=v) for k, v in _variables(engine).items()),
            *(secret_variable(name, key) for name, key in engine.secrets.items()),
        ],
        startup_probe=core.v1.ProbeArgs(
            http_get=health,
            period_seconds=_PROBE_S,
            timeout_seconds=5,
            failure_threshold=-(-engine.start_limit_s // _PROBE_S),
        ),
        readiness_probe=core.v1.ProbeArgs(http_get=health, period_seconds=5, timeout_seconds=5),
        # A long step answers late; only an engine that is gone answers never.
        liveness_probe=core.v1.ProbeArgs(
            http_get=health, period_seconds=30, timeout_seconds=20, failure_threshold=4
        ),
        lifecycle=core.v1.LifecycleArgs(pre_stop=_drain(engine)),
        resources=core.v1.ResourceRequirementsArgs(
            requests={"cpu": engine.cpu, **held}, limits=held
        ),
        security_context=container_security(),
        volume_mounts=_mounts(engine),
    )


def _variables(engine: Engine) -> dict[str, str]:
    # The image's user has no name and the image is read-only: caches go to a volume.
    return {
        "HOME": _CACHE,
        "USER": "vllm",
        "XDG_CACHE_HOME": f"{_CACHE}/xdg",
        "VLLM_CACHE_ROOT": f"{_CACHE}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/inductor",
        "TRITON_CACHE_DIR": f"{_CACHE}/triton",
        **engine.environment,
    }


def _drain(engine: Engine) -> core.v1.LifecycleHandlerArgs:
    command = [
        "python3",
        f"{CONFIG_DIRECTORY}/{DRAIN_FILE}",
        "--metrics",
        engine.metrics_url,
        "--settle",
        str(_SETTLE_S),
        "--limit",
        str(engine.longest_stream_s),
    ]
    return core.v1.LifecycleHandlerArgs(exec_=core.v1.ExecActionArgs(command=command))


def _mounts(engine: Engine) -> list[core.v1.VolumeMountArgs]:
    mount = core.v1.VolumeMountArgs
    mounts = [
        mount(name="config", mount_path=CONFIG_DIRECTORY, read_only=True),
        mount(name="adapters", mount_path=ADAPTERS, read_only=True),
        mount(name="cache", mount_path=_CACHE),
        mount(name="scratch", mount_path=SCRATCH),
        mount(name="shared-memory", mount_path="/dev/shm"),  # noqa: S108  the pod's own
    ]
    if engine.model_volume is not None:
        directory = engine.model_volume.directory
        mounts.append(mount(name="model", mount_path=directory, read_only=True))
    return mounts


def engine_volumes(engine: Engine) -> list[core.v1.VolumeArgs]:
    """The volumes that only vLLM mounts."""
    cache = core.v1.EmptyDirVolumeSourceArgs(size_limit=f"{engine.scratch_gib}Gi")
    shared = core.v1.EmptyDirVolumeSourceArgs(
        medium="Memory", size_limit=f"{engine.shared_memory_mib}Mi"
    )
    volumes = [
        core.v1.VolumeArgs(name="cache", empty_dir=cache),
        core.v1.VolumeArgs(name="shared-memory", empty_dir=shared),
    ]
    if engine.model_volume is not None:
        source = core.v1.PersistentVolumeClaimVolumeSourceArgs(
            claim_name=engine.model_volume.claim, read_only=True
        )
        volumes.append(core.v1.VolumeArgs(name="model", persistent_volume_claim=source))
    return volumes


def node_selector(nodes: Nodes) -> dict[str, str]:
    """Labels of the nodes; one instance type is a label like any other."""
    if len(nodes.instance_types) == 1:
        return {**nodes.selector, _INSTANCE_TYPE: nodes.instance_types[0]}
    return dict(nodes.selector)


def node_affinity(nodes: Nodes) -> core.v1.AffinityArgs | None:
    """One of several instance types, which no selector can say."""
    if len(nodes.instance_types) < 2:
        return None
    types = core.v1.NodeSelectorRequirementArgs(
        key=_INSTANCE_TYPE, operator="In", values=list(nodes.instance_types)
    )
    return core.v1.AffinityArgs(
        node_affinity=core.v1.NodeAffinityArgs(
            required_during_scheduling_ignored_during_execution=core.v1.NodeSelectorArgs(
                node_selector_terms=[core.v1.NodeSelectorTermArgs(match_expressions=[types])]
            )
        )
    )


def node_tolerations(nodes: Nodes) -> list[core.v1.TolerationArgs]:
    """Taints that are no obstacle."""
    return [
        core.v1.TolerationArgs(key=key, operator="Exists", effect="NoSchedule")
        for key in nodes.tolerations
    ]
