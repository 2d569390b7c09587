"""adapter-sync beside vLLM in a model pod: brings adapters to its disk and loads them."""

from dataclasses import dataclass

from pulumi_kubernetes import core

from components.checks import image_by_digest
from components.object_store import ObjectStoreAccess
from components.pods import CONFIG_DIRECTORY, SCRATCH, container_security, secret_variable

STATUS_PORT = "adapter-sync"
"""Name of the port of GET /status, /metrics and /healthz."""
CONFIG_FILE = "adapter-sync.json"
PUBLIC_KEY = f"{CONFIG_DIRECTORY}/evaluation.pub"
"""What evaluations are verified with."""
ADAPTERS = "/adapters"
"""Folder of the adapters, in both containers."""


@dataclass(frozen=True, kw_only=True)
class AdapterSidecar:
    """The sidecar."""

    image: str
    """Image of the serving environment, by digest."""
    port: int
    object_store: ObjectStoreAccess
    """Of the registry."""

    def __post_init__(self) -> None:
        image_by_digest(self.image, "AdapterSidecar.image")


def adapter_sidecar(sidecar: AdapterSidecar) -> core.v1.ContainerArgs:
    """A native sidecar: it waits for vLLM, and ends after it."""
    alive = core.v1.HTTPGetActionArgs(path="/healthz", port=STATUS_PORT)
    store = sidecar.object_store
    return core.v1.ContainerArgs(
        name="adapter-sync",
        image=sidecar.image,
        restart_policy="Always",
        command=[
            "python",
            "-m",
            "serving.adapter_sync",
            "--config",
            f"{CONFIG_DIRECTORY}/{CONFIG_FILE}",
        ],
        env=[
            *(core.v1.EnvVarArgs(name=k, value=v) for k, v in store.environment.items()),
            *(secret_variable(name, key) for name, key in store.secrets.items()),
        ],
        ports=[core.v1.ContainerPortArgs(name=STATUS_PORT, container_port=sidecar.port)],
        startup_probe=core.v1.ProbeArgs(http_get=alive, period_seconds=2, failure_threshold=60),
        liveness_probe=core.v1.ProbeArgs(http_get=alive, period_seconds=15, timeout_seconds=10),
        resources=core.v1.ResourceRequirementsArgs(
            requests={"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "64Mi"},
            limits={"memory": "512Mi", "ephemeral-storage": "64Mi"},
        ),
        security_context=container_security(),
        volume_mounts=[
            core.v1.VolumeMountArgs(name="config", mount_path=CONFIG_DIRECTORY, read_only=True),
            core.v1.VolumeMountArgs(name="adapters", mount_path=ADAPTERS),
            core.v1.VolumeMountArgs(name="scratch", mount_path=SCRATCH),
        ],
    )
