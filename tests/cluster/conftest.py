"""One API server for the tests that need no node."""

from collections.abc import Iterator

import pytest

from tests.cluster.api_server import ApiServer, api_server, controllers, definitions
from tests.cluster.programs import API_SERVER, require
from tests.cluster.strict import apply_strict


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that knows the kinds of all operators that set-up fetched."""
    require(*API_SERVER)
    with api_server(tmp_path_factory.mktemp("api-server")) as running:
        assert apply_strict(running.client, definitions()) == []
        yield running


@pytest.fixture(scope="session")
def controlled(server: ApiServer) -> Iterator[ApiServer]:
    """The same API server with Kubernetes' controllers at work; still there is no node."""
    require("kube-controller-manager")
    with controllers(server):
        yield server
