"""Every object of whole environments and domains, against a real API server.

The mocks declare them; the server judges each by itself, in namespaces that warn of pods that are
not restricted. What is not judged: objects of charts, and the kinds of kgateway, whose definitions
no Go module has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.cluster.api_server import ApiServer, api_server, definitions
from tests.cluster.client import Object
from tests.cluster.objects import objects_of
from tests.cluster.programs import API_SERVER, require
from tests.cluster.strict import apply_strict
from tests.components.declared import Program
from tests.stacks.environments import (
    DRAWS,
    SHIPPED,
    cluster_stack,
    declare_environment,
    generated,
    shipped,
)
from tests.stacks.test_domain_graph import SHIPPED_DOMAINS, declared, domain_stack

_UNKNOWN_GROUP = "gateway.kgateway.dev/"
_RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of these tests' own: what others store would be changed by what is judged here."""
    require(*API_SERVER)
    with api_server(tmp_path_factory.mktemp("environments")) as running:
        assert apply_strict(running.client, definitions()) == []
        yield running


def _judged(program: Program) -> list[Object]:
    known = [
        each for each in objects_of(program) if not each["apiVersion"].startswith(_UNKNOWN_GROUP)
    ]
    namespaces = {each["metadata"].get("namespace", "default") for each in known}
    declared_here = {each["metadata"]["name"] for each in known if each["kind"] == "Namespace"}
    return [*(_namespace(name) for name in sorted(namespaces - declared_here)), *known]


def _namespace(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": _RESTRICTED},
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_every_object_of_a_shipped_environment_is_taken(server: ApiServer, name: str) -> None:
    objects = _judged(shipped(name).program)
    kinds = {each["kind"] for each in objects}
    assert {"Deployment", "StatefulSet", "CronJob", "NetworkPolicy", "HTTPRoute"} <= kinds
    assert apply_strict(server.client, objects, dry_run=True) == []


@pytest.mark.parametrize("number", range(DRAWS))
def test_every_object_of_a_generated_environment_is_taken(server: ApiServer, number: int) -> None:
    objects = _judged(declare_environment(cluster_stack(generated(number))).program)
    assert apply_strict(server.client, objects, dry_run=True) == []


@pytest.mark.parametrize("name", SHIPPED_DOMAINS)
def test_every_object_of_a_domain_is_taken(
    server: ApiServer, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    contract: Mapping[str, Any] = shipped("prod").exports["contract"]
    registry = tmp_path_factory.mktemp("registry")
    objects = _judged(declared(domain_stack(name), contract, registry).program)
    assert {"Job", "ServiceAccount", "HTTPRoute"} <= {each["kind"] for each in objects}
    assert apply_strict(server.client, objects, dry_run=True) == []
