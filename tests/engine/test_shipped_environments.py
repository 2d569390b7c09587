"""Whole environments and domains as they are shipped: the real engine, AWS in moto."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation as auto

from stacks.config.load import ClusterStack
from tests.engine.aws.kinds import KINDS
from tests.engine.aws.provider import Operation
from tests.engine.aws.world import World, WorldStack, changes
from tests.engine.shipped import (
    DOMAINS,
    Change,
    account_of,
    domain_program,
    environment_program,
    read_domain,
    read_environment,
)
from tests.stacks.environments import SHIPPED
from tests.stacks.seals import SEALS

pytestmark = pytest.mark.engine

JOB = "kubernetes:batch/v1:Job"
SECRET = "kubernetes:core/v1:Secret"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
BY_EKS = Counter(
    {
        "aws:eks/accessEntry:AccessEntry": 1,
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": 1,
        "aws:eks/cluster:Cluster": 1,
        "aws:iam/role:Role": 1,
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 1,
        "eks:index:ServiceRole": 1,
    }
)
"""What the component of EKS declares by itself, with one administrator."""
WITHOUT_PODS = {"kubernetes:core/v1:Namespace", "kubernetes:networking.k8s.io/v1:NetworkPolicy"}
DOMAIN = 50
"""Resources of a domain."""


class Environment:
    """A shipped environment in an account of its own."""

    def __init__(self, stack: ClusterStack, world: World) -> None:
        self.name = stack.name
        self.world = world
        self.stack = self.changed(None)

    def changed(self, change: Change | None) -> WorldStack:
        """The same environment with another configuration."""
        program = environment_program(read_environment(self.name, change))
        return self.world.stack(self.name, program)


def sealed(name: str) -> Counter[str]:
    """Resources by type: what the program declares under mocks, and what EKS adds."""
    counts: dict[str, int] = json.loads(SEALS.read_text())[name]["counts"]
    return Counter(counts) + BY_EKS


def in_aws(counts: Mapping[str, int]) -> int:
    """How many of them are in the account."""
    return sum(count for token, count in counts.items() if token.startswith("aws:"))


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Environment]:
    stack = read_environment(request.param)
    with account_of(stack, tmp_path, checkpoints=False) as world:
        yield Environment(stack, world)


@pytest.mark.parametrize("environment", SHIPPED, indirect=True)
def test_a_shipped_environment_comes_up_stays_and_is_kept(environment: Environment) -> None:
    stack, world = environment.stack, environment.world
    counts = sealed(environment.name)
    in_account = in_aws(counts)

    (everything,) = stack.preview().values()
    assert world.aws.left() == []
    assert stack.up() == {"create": everything}
    there = world.types(environment.name)
    assert Counter({k: n for k, n in there.items() if not k.startswith("pulumi:")}) == counts
    assert len(world.aws.left()) == in_account
    assert stack.preview() == stack.refresh() == stack.up() == {"same": everything}

    with pytest.raises(auto.CommandError, match=r"Bucket::\S+-registry.* cannot be deleted"):
        stack.destroy()
    assert len(world.aws.left()) == in_account
    stack.unprotect()
    if not read_environment(environment.name).environment.production:
        assert stack.destroy() == {"delete": everything}
        assert world.aws.left() == []
        return
    # What gets past the engine's protection meets that of AWS.
    with pytest.raises(auto.CommandError, match="deletion protection"):
        stack.destroy()
    kept = {each.split()[0] for each in world.aws.left()}
    assert {"aws:eks/cluster:Cluster", "aws:rds/instance:Instance", "aws:ec2/vpc:Vpc"} <= kept


@pytest.mark.parametrize("environment", ["staging"], indirect=True)
def test_another_owner_is_written_on_everything_in_the_account(environment: Environment) -> None:
    environment.stack.up()
    done = len(environment.world.aws.done)

    def change(config: dict[str, Any]) -> None:
        config["tags"]["owner"] = "another-team"

    stack = environment.changed(change)
    updated = changes(stack.up())
    operations = environment.world.aws.done[done:]
    assert {operation.verb for operation in operations} == {"update"}
    assert updated == {"update": len(operations)}

    owners = {
        (token, name): found["tags"].get("owner")
        for token, kind in KINDS.items()
        # Of rules moto gives no tags back.
        if "tags" not in kind.not_kept
        for name, found in environment.world.aws.found(token).items()
        if "tags" in found
    }
    assert set(owners.values()) == {"another-team"}
    silent = {each for each in operations if "tags" in KINDS[each.token].not_kept}
    assert {(each.token, each.name) for each in operations if each not in silent} == owners.keys()


@pytest.mark.parametrize("environment", ["dev"], indirect=True)
def test_new_nodes_come_before_the_old_ones_go(environment: Environment) -> None:
    environment.stack.up()
    aws, kubernetes = environment.world.aws, environment.world.kubernetes
    done, on_cluster = len(aws.done), len(kubernetes.done)

    def change(config: dict[str, Any]) -> None:
        config["cluster"]["nodes"]["slm"]["instance_types"] = ["g6.2xlarge"]

    stack = environment.changed(change)
    # A pod asks for what is left of the RAM of its node.
    assert changes(stack.preview()) == {"replace": 1, "update": 1}
    stack.up()
    assert aws.done[done:] == [
        Operation("create", NODE_GROUP, "nodes-slm"),
        Operation("delete", NODE_GROUP, "nodes-slm"),
    ]
    assert [each.name for each in kubernetes.done[on_cluster:]] == ["dev-pool-slm"]
    assert aws.found(NODE_GROUP)["nodes-slm"]["instanceTypes"] == ["g6.2xlarge"]


@pytest.mark.parametrize("environment", ["dev"], indirect=True)
def test_a_larger_disk_is_a_new_version_of_the_template(environment: Environment) -> None:
    environment.stack.up()
    done = len(environment.world.aws.done)

    def change(config: dict[str, Any]) -> None:
        config["cluster"]["nodes"]["slm"]["disk_gib"] = 300

    assert changes(environment.changed(change).up()) == {"update": 2}
    assert environment.world.aws.done[done:] == [
        Operation("update", "aws:ec2/launchTemplate:LaunchTemplate", "nodes-slm"),
        Operation("update", NODE_GROUP, "nodes-slm"),
    ]
    nodes = environment.world.aws.found(NODE_GROUP)["nodes-slm"]
    assert nodes["launchTemplate"]["version"] == "2"


@pytest.mark.parametrize("environment", ["dev"], indirect=True)
def test_without_system_nodes_nothing_is_put_on_the_cluster(environment: Environment) -> None:
    aws = environment.world.aws

    def refuse(operation: Operation) -> str | None:
        is_system = operation == Operation("create", NODE_GROUP, "nodes-system")
        return "VcpuLimitExceeded: you have requested more vCPU capacity" if is_system else None

    aws.refuse = refuse
    with pytest.raises(auto.CommandError, match="VcpuLimitExceeded"):
        environment.stack.up()
    in_account = in_aws(sealed("dev"))
    assert 0 < len(aws.left()) < in_account
    on_cluster = environment.world.kubernetes.objects
    assert {kind for kind, objects in on_cluster.items() if objects} <= WITHOUT_PODS

    aws.refuse = lambda _: None
    environment.stack.up()
    assert len(aws.left()) == in_account
    assert changes(environment.stack.preview()) == {}
    created = [each for each in aws.done if each.verb == "create"]
    assert len(created) == len(set(created)) == in_account


@pytest.mark.parametrize("environment", ["prod"], indirect=True)
def test_domains_come_and_go_beside_an_environment(environment: Environment) -> None:
    environment.stack.up()
    stacks = {
        name: environment.world.stack(f"prod-{name}", domain_program(read_domain(name)))
        for name in DOMAINS
    }
    before = len(environment.world.aws.left())
    for stack in stacks.values():
        assert stack.preview() == {"create": DOMAIN}
        assert stack.up() == {"create": DOMAIN}
    assert changes(environment.stack.preview()) == {}
    assert len(environment.world.aws.left()) > before

    stacks["stock-order"].destroy()
    assert stacks["bank-ledger"].up() == {"same": DOMAIN}
    assert changes(environment.stack.up()) == {}

    # Another password is another run of the job that tells MLflow, and of no other.
    kubernetes = environment.world.kubernetes
    done, before = len(kubernetes.done), dict(kubernetes.objects[JOB])
    rotated = domain_program(read_domain("bank-ledger", mlflow_serial=2))
    environment.world.stack("prod-bank-ledger", rotated).up()
    login = "mlflow-domain-bank-ledger"
    assert set(kubernetes.done[done:]) == {
        Operation(verb, token, name)
        for verb in ("create", "delete")
        for token, name in (
            (SECRET, login),
            (SECRET, f"{login}-domain-bank-ledger"),
            (JOB, login),
        )
    }
    (added,) = kubernetes.objects[JOB].keys() - before.keys()
    assert added.startswith(f"pipeline-operations/{login}-")
