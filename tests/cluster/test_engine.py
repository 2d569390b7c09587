"""A Pulumi program on a real API server: what preview sees, what up makes, what it refuses."""

from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
from pulumi import automation as auto

from tests.cluster import engine
from tests.cluster.api_server import ApiServer
from tests.cluster.client import ApiError
from tests.cluster.engine import provider_on_path

__all__ = ["provider_on_path"]
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("provider_on_path")]

NAMESPACE = "program"


@pytest.fixture(autouse=True)
def _namespace(controlled: ApiServer) -> None:
    metadata = {"name": NAMESPACE}
    controlled.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


class Program:
    """A route to a Service; what differs between updates is an attribute."""

    def __init__(self) -> None:
        self.path = "/v1"
        self.port = 8081

    def __call__(self, provider: kubernetes.Provider) -> None:
        options = pulumi.ResourceOptions(provider=provider)
        metadata = {"name": "router", "namespace": NAMESPACE}
        kubernetes.core.v1.Service(
            "router",
            metadata={**metadata, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={"selector": {"app": "router"}, "ports": [{"port": self.port}]},
            opts=options,
        )
        kubernetes.apiextensions.CustomResource(
            "router",
            api_version="gateway.networking.k8s.io/v1",
            kind="HTTPRoute",
            metadata=metadata,
            spec=self._route(),
            opts=options,
        )

    def _route(self) -> dict[str, Any]:
        match = {"path": {"type": "PathPrefix", "value": self.path}}
        backend = {"name": "router", "port": self.port}
        return {
            "parentRefs": [{"name": "edge"}],
            "rules": [{"matches": [match], "backendRefs": [backend]}],
        }


def test_preview_up_no_change_update_and_destroy(controlled: ApiServer, tmp_path: Path) -> None:
    program = Program()
    stack = engine.stack("cluster-test", tmp_path, controlled.kubeconfig(), program)
    created = stack.preview().change_summary
    assert created == {auto.OpType.CREATE: 4}
    with pytest.raises(ApiError):
        controlled.client.get("v1", "Service", "router", NAMESPACE)

    assert stack.up().summary.resource_changes == {"create": 4}
    service = controlled.client.get("v1", "Service", "router", NAMESPACE)
    assert service["spec"]["ports"][0]["port"] == program.port
    assert stack.preview(expect_no_changes=True).change_summary == {auto.OpType.SAME: 4}

    program.port = 9000
    assert stack.up().summary.resource_changes == {"same": 2, "update": 2}
    route = controlled.client.get("gateway.networking.k8s.io/v1", "HTTPRoute", "router", NAMESPACE)
    assert route["spec"]["rules"][0]["backendRefs"][0]["port"] == program.port

    stack.destroy()
    with pytest.raises(ApiError):
        controlled.client.get("v1", "Service", "router", NAMESPACE)


def test_preview_refuses_what_the_api_server_would(controlled: ApiServer, tmp_path: Path) -> None:
    program = Program()
    program.path = "no-slash"
    stack = engine.stack("cluster-refused", tmp_path, controlled.kubeconfig(), program)
    with pytest.raises(auto.CommandError, match="must be an absolute path"):
        stack.preview()


def test_preview_refuses_a_field_that_does_not_exist(controlled: ApiServer, tmp_path: Path) -> None:
    def declare(provider: kubernetes.Provider) -> None:
        kubernetes.apiextensions.CustomResource(
            "router",
            api_version="gateway.networking.k8s.io/v1",
            kind="HTTPRoute",
            metadata={"name": "router", "namespace": NAMESPACE},
            spec={"parentRefs": [{"name": "edge"}], "hostname": "api.example.com"},
            opts=pulumi.ResourceOptions(provider=provider),
        )

    stack = engine.stack("cluster-unknown", tmp_path, controlled.kubeconfig(), declare)
    with pytest.raises(auto.CommandError, match=r"spec\.hostname"):
        stack.preview()


def test_a_preview_needs_no_right_to_write(controlled: ApiServer, tmp_path: Path) -> None:
    """Code of a pull request runs in it: with no more than Kubernetes' own role `view`."""
    group = "rbac.authorization.k8s.io"
    controlled.client.apply(
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "apiGroup": group, "name": "reader"}],
        }
    )
    program = Program()
    engine.stack("cluster-read", tmp_path, controlled.kubeconfig(), program).up()
    program.port = 9000
    reading = engine.stack("cluster-read", tmp_path, controlled.kubeconfig("reader"), program)
    assert reading.preview().change_summary[auto.OpType.UPDATE] >= 2
    with pytest.raises(auto.CommandError, match="forbidden"):
        reading.up()

    # A stack deletes with the credentials that it was last brought up with.
    writing = engine.stack("cluster-read", tmp_path, controlled.kubeconfig(), program)
    writing.up()
    writing.destroy()
