"""The Gateway object: its listeners, and what is said about the pods and the Service behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serving.edge import kgateway
from serving.edge.routes import LISTENER

GATEWAY: Final = "edge"
"""Name of the Gateway of an environment."""
PLAIN_LISTENER: Final = "plain"
"""The listener on port 80 whose only route is a redirect."""
HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """What the implementation puts on the objects that it makes for a Gateway."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    has_parameters: bool = False
    """Whether GatewayParameters of the same name belong to it (kgateway only)."""


@dataclass(frozen=True, kw_only=True)
class GatewaySpec:
    """One Gateway."""

    namespace: str
    gateway_class: str
    hostname: str
    certificate: str | None
    """Secret of type kubernetes.io/tls in the namespace; None for plain HTTP."""
    redirects: bool
    """Whether port 80 answers with a redirect."""
    infrastructure: Infrastructure


def gateway_object(gateway: GatewaySpec) -> dict[str, Any]:
    """Return the Gateway."""
    listeners = [_api_listener(gateway)]
    if gateway.redirects:
        listeners.append(_listener(PLAIN_LISTENER, "HTTP", HTTP_PORT, gateway.hostname))
    return {
        "apiVersion": f"{kgateway.GATEWAY_API}/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": gateway.namespace},
        "spec": {
            "gatewayClassName": gateway.gateway_class,
            "infrastructure": _infrastructure(gateway.infrastructure),
            "listeners": listeners,
        },
    }


def ports(gateway: GatewaySpec) -> tuple[int, ...]:
    """Return the ports that the Gateway listens on."""
    return tuple(listener["port"] for listener in gateway_object(gateway)["spec"]["listeners"])


def _api_listener(gateway: GatewaySpec) -> dict[str, Any]:
    if gateway.certificate is None:
        return _listener(LISTENER, "HTTP", HTTP_PORT, gateway.hostname)
    tls = {
        "mode": "Terminate",
        "certificateRefs": [{"group": "", "kind": "Secret", "name": gateway.certificate}],
    }
    return {**_listener(LISTENER, "HTTPS", HTTPS_PORT, gateway.hostname), "tls": tls}


def _listener(name: str, protocol: str, port: int, hostname: str) -> dict[str, Any]:
    return {
        "name": name,
        "protocol": protocol,
        "port": port,
        "hostname": hostname,
        # Routes of other namespaces could take over a domain.
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }


def _infrastructure(infrastructure: Infrastructure) -> dict[str, Any]:
    spec: dict[str, Any] = {"labels": dict(infrastructure.labels)}
    if infrastructure.annotations:
        spec["annotations"] = dict(infrastructure.annotations)
    if infrastructure.has_parameters:
        spec["parametersRef"] = {
            "group": kgateway.GROUP,
            "kind": "GatewayParameters",
            "name": GATEWAY,
        }
    return spec
