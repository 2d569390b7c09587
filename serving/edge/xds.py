"""From the translator's answer to the three files that a local Envoy watches. No I/O.

The translator describes Envoy as it would run in a cluster, fed by a control plane over the
network. Here the same resources come from files, the router is found on this machine, and what a
cluster's edge does by policy objects is put into the listener.
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import yaml

from serving.edge.config import EdgeConfig
from serving.edge.routes import IDENTITY_PREFIXES, LISTENER

Resource = dict[str, Any]

_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions"


class TranslationError(Exception):
    """The translator refused its input, or answered in a way that is not known here."""


@dataclass(frozen=True)
class Xds:
    """Envoy's resources by kind, each in the translator's order."""

    listeners: list[Resource]
    routes: list[Resource]
    clusters: list[Resource]

    def route_names(self) -> set[str]:
        """Return `<namespace>/<name>` of each HTTPRoute that has a route."""
        names = set()
        for configuration in self.routes:
            for host in configuration["virtualHosts"]:
                for route in host["routes"]:
                    kind, namespace, name = route["name"].split("/")[:3]
                    if kind == "httproute":
                        names.add(f"{namespace}/{name}")
        return names


def local_xds(config: EdgeConfig, translated: str, files: "XdsFiles") -> Xds:
    """Turn the translator's YAML into resources for an Envoy on this machine.

    Raises:
        TranslationError: when an expected part is missing.
    """
    try:
        dumps = _dumps(yaml.safe_load(translated), f"{config.namespace}/{config.gateway}")
        endpoints = {
            each["endpointConfig"]["clusterName"]: each["endpointConfig"]
            for each in dumps["EndpointsConfigDump"].get("dynamicEndpointConfigs", [])
        }
        name = f"{config.namespace}/{config.gateway}/{LISTENER}"
        listeners = [
            _local_listener(config, each["activeState"]["listener"], files)
            for each in dumps["ListenersConfigDump"]["dynamicListeners"]
            if each["activeState"]["listener"]["name"] == name
        ]
        routes = [
            _local_routes(config, each["routeConfig"])
            for each in dumps["RoutesConfigDump"]["dynamicRouteConfigs"]
        ]
        clusters = [
            _local_cluster(config, each["cluster"], endpoints)
            for each in dumps["ClustersConfigDump"].get("dynamicActiveClusters", [])
        ]
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise TranslationError(f"unexpected answer of the translator: {error!r}") from error
    if not listeners:
        raise TranslationError(f"the translator made no listener {name}")
    return Xds(listeners, routes, clusters)


def _dumps(answer: dict[str, Any], gateway: str) -> dict[str, Resource]:
    return {each["@type"].rpartition(".")[2]: each for each in answer["xds"][gateway]["configs"]}


@dataclass(frozen=True)
class XdsFiles:
    """Absolute paths of the files that Envoy watches."""

    listeners: str
    routes: str
    clusters: str


def file_source(path: str) -> Resource:
    """Return the Envoy config source that watches a file."""
    return {"pathConfigSource": {"path": path}, "resourceApiVersion": "V3"}


def discovery_response(resources: list[Resource]) -> str:
    """Return the text of a file that Envoy watches; the version is a digest of the content."""
    body = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return json.dumps({"versionInfo": version, "resources": resources}, indent=1)


def union(old: list[Resource], new: list[Resource]) -> list[Resource]:
    """Return the new resources and those of the old ones whose names are gone."""
    names = {each["name"] for each in new}
    return [*new, *(each for each in old if each["name"] not in names)]


def _local_listener(config: EdgeConfig, listener: Resource, files: XdsFiles) -> Resource:
    local = copy.deepcopy(listener)
    address = {"address": str(config.listen.host), "portValue": config.listen.port}
    local["address"] = {"socketAddress": address}
    # A port that another process holds is then an error, not a port that two share.
    local["enableReusePort"] = False
    chains = [*local.get("filterChains", []), local["defaultFilterChain"]]
    for chain in chains:
        for each in chain["filters"]:
            if each["name"] == _MANAGER:
                _localise_manager(config, each["typedConfig"], files)
    return local


def _localise_manager(config: EdgeConfig, manager: Resource, files: XdsFiles) -> None:
    manager["rds"]["configSource"] = file_source(files.routes)
    manager["streamIdleTimeout"] = f"{config.stream_idle_s}s"
    # A client that never ends its headers must not hold a connection.
    manager["requestHeadersTimeout"] = "30s"
    manager["httpFilters"] = [_strip_identity(), *manager["httpFilters"]]
    manager["localReplyConfig"] = _errors_as_json()


def _strip_identity() -> Resource:
    removals = [
        {"removeOnMatch": {"keyMatcher": {"prefix": prefix, "ignoreCase": True}}}
        for prefix in IDENTITY_PREFIXES
    ]
    return {
        "name": "envoy.filters.http.header_mutation",
        "typedConfig": {
            "@type": f"{_EXTENSIONS}.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"requestMutations": removals},
        },
    }


def _errors_as_json() -> Resource:
    """Answers that Envoy makes because something failed; a flag tells them from a route's own."""
    return {
        "mappers": [
            {
                "filter": {"responseFlagFilter": {}},
                "bodyFormatOverride": {
                    "jsonFormat": {
                        "error": {
                            "message": "the edge answered: %LOCAL_REPLY_BODY% "
                            "(%RESPONSE_CODE_DETAILS%)",
                            "type": "edge_error",
                            "code": "%RESPONSE_FLAGS_LONG%",
                        }
                    }
                },
            }
        ]
    }


def _local_routes(config: EdgeConfig, configuration: Resource) -> Resource:
    local = copy.deepcopy(configuration)
    for host in local["virtualHosts"]:
        for route in host["routes"]:
            if "route" in route:
                # The translator switches the idle limit off with the deadline; a stream that
                # moves has no deadline, one that does not move must end.
                route["route"]["idleTimeout"] = f"{config.stream_idle_s}s"
    return local


def _local_cluster(
    config: EdgeConfig, cluster: Resource, endpoints: dict[str, Resource]
) -> Resource:
    local = copy.deepcopy(cluster)
    service = local.pop("edsClusterConfig")["serviceName"]
    local["type"] = "STATIC"
    local["loadAssignment"] = copy.deepcopy(endpoints[service])
    local["loadAssignment"].pop("@type", None)
    # The translator has the Service's cluster address, which means nothing on this machine.
    address = {"address": str(config.router.host), "portValue": config.router.port}
    for locality in local["loadAssignment"]["endpoints"]:
        for each in locality["lbEndpoints"]:
            each["endpoint"]["address"] = {"socketAddress": address}
    return local
