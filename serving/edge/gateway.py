"""What the translator needs beside the routes: stand-ins for what a cluster would have.

The domains' routes go in as they are. The objects here are the local side of the Gateway: its
class, the router's Service, and the answer for unknown domains, which on Kubernetes is
an object of kgateway and here one of Envoy Gateway.
"""

import copy
from collections.abc import Iterable
from typing import Any, Final

import yaml

from serving.edge.config import EdgeConfig
from serving.edge.routes import (
    LISTENER,
    UNKNOWN_DOMAIN,
    UNKNOWN_DOMAIN_BODY,
    environment_route,
)

_CLASS: Final = "local"
_GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
_GATEWAY_CLASS: Final = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
_LOCAL_ANSWER: Final = {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter"}
# Any address will do: the local clusters get the router's own.
_CLUSTER_IP: Final = "127.0.0.1"
_PORT: Final = {"name": "http", "protocol": "TCP"}


def translation_input(config: EdgeConfig, routes: Iterable[dict[str, Any]]) -> str:
    """Return the YAML documents that the translator reads for these routes."""
    own = environment_route(config.namespace, config.gateway, config.service, config.service_port)
    objects = [*_stand_ins(config), *routes, _with_local_answer(own)]
    return yaml.safe_dump_all(objects, sort_keys=True)


def _stand_ins(config: EdgeConfig) -> list[dict[str, Any]]:
    return [
        _object(_GATEWAY_API, "GatewayClass", {"name": _CLASS}, spec=_GATEWAY_CLASS),
        _object(
            _GATEWAY_API,
            "Gateway",
            _metadata(config, config.gateway),
            spec={
                "gatewayClassName": _CLASS,
                "listeners": [{"name": LISTENER, "protocol": "HTTP", "port": config.listen.port}],
            },
        ),
        _object(
            "v1",
            "Service",
            _metadata(config, config.service),
            spec={"clusterIP": _CLUSTER_IP, "ports": [{**_PORT, "port": config.service_port}]},
        ),
        _object(
            "gateway.envoyproxy.io/v1alpha1",
            _LOCAL_ANSWER["kind"],
            _metadata(config, UNKNOWN_DOMAIN),
            spec={
                "directResponse": {
                    "contentType": "application/json",
                    "statusCode": 404,
                    "body": {"type": "Inline", "inline": UNKNOWN_DOMAIN_BODY},
                }
            },
        ),
    ]


def _object(api_version: str, kind: str, metadata: dict[str, Any], **body: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _metadata(config: EdgeConfig, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": config.namespace}


def _with_local_answer(route: dict[str, Any]) -> dict[str, Any]:
    local = copy.deepcopy(route)
    for rule in local["spec"]["rules"]:
        for each in rule["filters"]:
            if each["type"] == "ExtensionRef":
                each["extensionRef"].update(_LOCAL_ANSWER)
    return local
