"""From a recorded answer of the translator to Envoy's files."""

import json
from pathlib import Path

import pytest
import yaml

from serving.edge.bootstrap import envoy_command, render_bootstrap, xds_files
from serving.edge.config import ConfigError, EdgeConfig, read_config
from serving.edge.gateway import translation_input
from serving.edge.routes import http_route
from serving.edge.xds import TranslationError, Xds, discovery_response, local_xds, union

RECORDED = (Path(__file__).parent / "translated.yaml").read_text()
VALUES = {
    "environment": "local",
    "routes_dir": "/state/routes",
    "xds_dir": "/state/xds",
    "egctl": "/tools/egctl",
    "envoy": "/tools/envoy",
    "listen": {"port": 7080},
    "router": {"port": 7081},
    "admin": {"port": 7085},
    "service_port": 8081,
    "stream_idle_s": 900,
}
CONFIG = EdgeConfig.model_validate(VALUES)


@pytest.fixture(scope="module")
def xds() -> Xds:
    return local_xds(CONFIG, RECORDED, xds_files(CONFIG))


def _socket(resource: dict) -> tuple[str, int]:
    address = resource["address"]["socketAddress"]
    return address["address"], address["portValue"]


def test_every_cluster_is_the_local_router_without_a_control_plane(xds) -> None:
    names = {cluster["name"] for cluster in xds.clusters}
    used = {
        route["route"]["cluster"]
        for configuration in xds.routes
        for host in configuration["virtualHosts"]
        for route in host["routes"]
        if "route" in route
    }
    assert used == names
    for cluster in xds.clusters:
        (locality,) = cluster["loadAssignment"]["endpoints"]
        (endpoint,) = locality["lbEndpoints"]
        assert _socket(endpoint["endpoint"]) == ("127.0.0.1", 7081)
    assert '"ads"' not in json.dumps([xds.clusters, xds.listeners, xds.routes])


def test_the_only_listener_is_on_loopback_and_watches_the_routes_file(xds) -> None:
    (listener,) = xds.listeners
    assert _socket(listener) == ("127.0.0.1", 7080)
    (chain,) = listener["defaultFilterChain"]["filters"]
    manager = chain["typedConfig"]
    assert manager["rds"]["configSource"]["pathConfigSource"]["path"] == "/state/xds/rds.json"
    filters = [each["name"] for each in manager["httpFilters"]]
    assert filters == ["envoy.filters.http.header_mutation", "envoy.filters.http.router"]


def test_streams_have_no_deadline_but_an_idle_limit(xds) -> None:
    routed = [
        route["route"]
        for configuration in xds.routes
        for host in configuration["virtualHosts"]
        for route in host["routes"]
        if "route" in route
    ]
    assert len(routed) == 5  # two methods of two header values, and requests without the header
    assert {(each["timeout"], each["idleTimeout"]) for each in routed} == {("0s", "900s")}


def test_route_names_tell_which_objects_are_served(xds) -> None:
    assert xds.route_names() == {"pipeline/domain-bank-ledger", "pipeline/edge-environment"}


def test_a_router_that_moves_changes_no_route(xds) -> None:
    moved = EdgeConfig.model_validate({**VALUES, "router": {"port": 7091}})
    other = local_xds(moved, RECORDED, xds_files(moved))
    assert other.routes == xds.routes
    assert other.listeners == xds.listeners
    assert other.clusters != xds.clusters


@pytest.mark.parametrize(
    "answer", ["", "xds: {}", "[]", "{", "xds: {pipeline/edge: {configs: []}}"]
)
def test_an_unknown_answer_is_refused(answer: str) -> None:
    with pytest.raises(TranslationError):
        local_xds(CONFIG, answer, xds_files(CONFIG))


def test_the_version_of_a_file_follows_its_content() -> None:
    one, same, other = (
        json.loads(discovery_response([{"name": name}])) for name in ("a", "a", "b")
    )
    assert one == same
    assert one["versionInfo"] != other["versionInfo"]
    assert one["resources"] == [{"name": "a"}]


def test_union_keeps_what_is_gone_and_prefers_what_is_new() -> None:
    old = [{"name": "a", "v": 1}, {"name": "b", "v": 1}]
    assert union(old, [{"name": "b", "v": 2}]) == [{"name": "b", "v": 2}, {"name": "a", "v": 1}]


def test_the_translator_gets_a_domains_route_as_kubernetes_would() -> None:
    route = http_route("bank-ledger", ["bank"], "pipeline", "edge", "router", 8081)
    documents = list(yaml.safe_load_all(translation_input(CONFIG, [route])))
    assert route in documents
    references = {
        each["extensionRef"]["kind"]
        for document in documents
        for rule in document["spec"].get("rules", [])
        for each in rule["filters"]
        if each["type"] == "ExtensionRef"
    }
    assert references <= {document["kind"] for document in documents}


def test_the_bootstrap_watches_the_written_files() -> None:
    bootstrap = yaml.safe_load(render_bootstrap(CONFIG))
    sources = bootstrap["dynamic_resources"]
    files = xds_files(CONFIG)
    assert sources["lds_config"]["pathConfigSource"]["path"] == files.listeners
    assert sources["cds_config"]["pathConfigSource"]["path"] == files.clusters
    assert bootstrap["admin"]["address"]["socket_address"]["port_value"] == 7085
    command = envoy_command(CONFIG)
    assert command[:3] == ("/tools/envoy", "--config-path", "/state/xds/bootstrap.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": {"port": 0}}, "listen.port"),
        ({"router": {"host": "router", "port": 1}}, "router.host"),
        ({"routes_dir": "routes"}, "routes_dir: .*absolute"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_key_is_named_with_the_file(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "edge.json"
    path.write_text(json.dumps({**VALUES, **change}))
    with pytest.raises(ConfigError, match=f"{path}: {message}"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=f"{path}: not JSON"):
        read_config(path)
