"""How kgateway runs the Envoy of a Gateway."""

from dataclasses import dataclass
from typing import Any, Final

from serving.edge.kgateway import (
    ContainerResources,
    EnvoyContainer,
    GatewayParametersSpec,
    GracefulShutdown,
    KubernetesProxy,
    Overlay,
    PodTemplate,
    ProxyDeployment,
    ProxyService,
    manifest,
)

_ENVOY_USER: Final = 10101
"""Of kgateway's image."""
_POD_SECURITY: Final = {
    "runAsNonRoot": True,
    "runAsUser": _ENVOY_USER,
    "seccompProfile": {"type": "RuntimeDefault"},
    # One of the sysctls that the restricted standard allows: Envoy listens on 443 without root.
    "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
}
_CONTAINER_SECURITY: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_END_S: Final = 15
"""What Envoy needs to end after it has drained."""


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The gateway pods of one Gateway."""

    replicas: int
    drain_s: int
    pod_labels: dict[str, str]
    """Labels that its pods have, for spreading them."""
    source_ranges: tuple[str, ...] | None
    """Networks that may connect, or None: no load balancer."""
    cpu: str = "500m"
    memory: str = "512Mi"


def gateway_parameters(gateway: str, namespace: str, proxy: Proxy) -> dict[str, Any]:
    """Return the GatewayParameters."""
    spec = GatewayParametersSpec(
        kube=KubernetesProxy(
            deployment=ProxyDeployment(replicas=proxy.replicas),
            envoy_container=EnvoyContainer(
                resources=ContainerResources(
                    requests={"cpu": proxy.cpu, "memory": proxy.memory},
                    limits={"memory": proxy.memory},
                ),
                security_context=_CONTAINER_SECURITY,
            ),
            pod_template=PodTemplate(
                security_context=_POD_SECURITY,
                graceful_shutdown=GracefulShutdown(enabled=True, sleep_time_seconds=proxy.drain_s),
                termination_grace_period_seconds=proxy.drain_s + _END_S,
                topology_spread_constraints=(_spread(proxy.pod_labels),),
            ),
            service=_service(proxy.source_ranges),
            pod_disruption_budget=Overlay(spec={"maxUnavailable": 1}),
        )
    )
    return manifest(gateway, namespace, spec)


def _service(source_ranges: tuple[str, ...] | None) -> ProxyService:
    if source_ranges is None:
        return ProxyService(type="ClusterIP")
    return ProxyService(type="LoadBalancer", load_balancer_source_ranges=source_ranges)


def _spread(labels: dict[str, str]) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
