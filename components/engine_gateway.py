"""Envoy beside vLLM in a model pod: the only way in from outside the pod."""

from dataclasses import dataclass

from pulumi_kubernetes import core

from components.checks import image_by_digest
from components.pods import CONFIG_DIRECTORY, METRICS_PORT, container_security
from serving.engine_gateway.bootstrap import ALIVE, envoy_command

INFERENCE_PORT = "http"
"""Name of the port that inference is served on."""
CONFIG_FILE = "envoy.json"


@dataclass(frozen=True, kw_only=True)
class EngineGateway:
    """The sidecar."""

    image: str
    """Envoy, by digest."""
    inference_port: int
    metrics_port: int

    def __post_init__(self) -> None:
        image_by_digest(self.image, "EngineGateway.image")


def gateway_sidecar(gateway: EngineGateway) -> core.v1.ContainerArgs:
    """A native sidecar: it listens before vLLM starts, and ends after it."""
    alive = core.v1.HTTPGetActionArgs(path=ALIVE, port=METRICS_PORT)
    return core.v1.ContainerArgs(
        name="envoy",
        image=gateway.image,
        restart_policy="Always",
        command=list(envoy_command(f"{CONFIG_DIRECTORY}/{CONFIG_FILE}")),
        ports=[
            core.v1.ContainerPortArgs(name=INFERENCE_PORT, container_port=gateway.inference_port),
            core.v1.ContainerPortArgs(name=METRICS_PORT, container_port=gateway.metrics_port),
        ],
        startup_probe=core.v1.ProbeArgs(http_get=alive, period_seconds=1, failure_threshold=60),
        liveness_probe=core.v1.ProbeArgs(http_get=alive, period_seconds=10, timeout_seconds=5),
        resources=core.v1.ResourceRequirementsArgs(
            requests={"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "64Mi"},
            limits={"memory": "256Mi", "ephemeral-storage": "64Mi"},
        ),
        security_context=container_security(),
        volume_mounts=[
            core.v1.VolumeMountArgs(name="config", mount_path=CONFIG_DIRECTORY, read_only=True)
        ],
    )
