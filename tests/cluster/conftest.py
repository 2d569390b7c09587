"""One API server for the tests that need no node, and one node for those that do."""

from collections.abc import Iterator

import pytest

from tests.cluster.api_server import ApiServer, api_server, controllers, definitions
from tests.cluster.node import Node, node
from tests.cluster.programs import API_SERVER, require, require_node
from tests.cluster.strict import apply_strict


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that knows the kinds of all operators that set-up fetched."""
    require(*API_SERVER)
    with api_server(tmp_path_factory.mktemp("api-server")) as running:
        assert apply_strict(running.client, definitions()) == []
        yield running


@pytest.fixture(scope="session")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Another API server, with Gateway API's kinds and Kubernetes' controllers, without a node."""
    require(*API_SERVER, "kube-controller-manager")
    with api_server(tmp_path_factory.mktemp("controlled")) as running, controllers(running):
        assert apply_strict(running.client, definitions("gateway-api")) == []
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of one node that knows the kinds of all operators that set-up fetched."""
    require_node()
    with node(tmp_path_factory.mktemp("node")) as running:
        assert apply_strict(running.client, definitions()) == []
        yield running
