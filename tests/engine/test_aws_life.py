"""The whole life of a small stack: the real engine, its providers stood in for, AWS in moto."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pulumi import automation as auto

from tests.engine.aws.provider import Operation
from tests.engine.aws.world import World, WorldStack, changes, new_world
from tests.engine.aws_program import NUMBER, REGION, SECRET, SmallProgram

pytestmark = pytest.mark.engine

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
IN_ACCOUNT = 20
"""Resources of the small program that the account has."""
EVERYTHING = IN_ACCOUNT + 7
"""And the stack, two components, three providers, and an object on the cluster."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with new_world(tmp_path, number=NUMBER, region=REGION) as made:
        yield made


def test_what_is_declared_is_in_the_account_and_goes_again(world: World) -> None:
    program = SmallProgram()
    stack = world.stack("small", program)

    assert stack.preview() == {"create": EVERYTHING}
    assert world.aws.left() == []

    assert stack.up() == {"create": EVERYTHING}
    assert len(world.aws.left()) == IN_ACCOUNT
    assert stack.outputs() == {"cluster": "small"}
    nodes = world.account.client("eks").list_nodegroups(clusterName="small")["nodegroups"]
    assert [name[:6] for name in nodes] == ["nodes-"]
    assert list(world.kubernetes.objects["kubernetes:core/v1:ConfigMap"]) == ["default/settings"]

    done = len(world.aws.done)
    assert stack.preview() == stack.up() == stack.refresh() == {"same": EVERYTHING}
    assert len(world.aws.done) == done

    assert stack.destroy() == {"delete": EVERYTHING}
    assert world.aws.left() == []
    assert (
        world.account.client("ec2").describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["eks-cluster-sg-small"]}]
        )["SecurityGroups"]
        == []
    )


def test_one_changed_value_changes_what_it_is_written_in(world: World) -> None:
    program = SmallProgram()
    stack = world.stack("small", program)
    stack.up()

    program.log_days = 90
    # A ConfigMap's data is fixed, as far as the provider is concerned.
    assert changes(stack.preview()) == {"update": 1, "replace": 1}
    done = len(world.aws.done)
    assert changes(stack.up()) == {"update": 1, "replace": 1}
    assert world.aws.done[done:] == [Operation("update", LOG_GROUP, "logs")]
    assert world.aws.found(LOG_GROUP)["logs"]["retentionInDays"] == 90
    (settings,) = world.kubernetes.objects["kubernetes:core/v1:ConfigMap"].values()
    assert settings["data"] == {"days": "90"}

    program.has_role = False
    assert changes(stack.up()) == {"delete": 3}
    assert changes(stack.up()) == {}


def test_new_nodes_are_there_before_the_old_ones_go(world: World) -> None:
    program = SmallProgram()
    stack = world.stack("small", program)
    stack.up()
    (before,) = world.account.client("eks").list_nodegroups(clusterName="small")["nodegroups"]

    program.instance_type = "g6.2xlarge"
    assert changes(stack.preview()) == {"replace": 1}
    done = len(world.aws.done)
    assert changes(stack.up()) == {"replace": 1}
    assert world.aws.done[done:] == [
        Operation("create", NODE_GROUP, "nodes"),
        Operation("delete", NODE_GROUP, "nodes"),
    ]
    (after,) = world.account.client("eks").list_nodegroups(clusterName="small")["nodegroups"]
    assert after != before
    assert world.aws.found(NODE_GROUP)["nodes"]["instanceTypes"] == ["g6.2xlarge"]


def test_an_update_that_fails_in_the_middle_is_finished_by_the_next(world: World) -> None:
    program = SmallProgram()
    stack = world.stack("small", program)

    def refuse(operation: Operation) -> str | None:
        is_group = operation.token == NODE_GROUP
        return "InsufficientFreeAddressesInSubnet: no address is left" if is_group else None

    world.aws.refuse = refuse
    with pytest.raises(auto.CommandError, match="InsufficientFreeAddressesInSubnet"):
        stack.up()
    there = len(world.aws.left())
    assert 0 < there < IN_ACCOUNT

    world.aws.refuse = lambda _: None
    created = stack.up()["create"]
    assert created < EVERYTHING
    assert len(world.aws.left()) == IN_ACCOUNT
    creates = [each for each in world.aws.done if each.verb == "create"]
    assert len(creates) == len(set(creates)) == IN_ACCOUNT
    assert changes(stack.up()) == {}


def test_what_aws_refuses_by_itself_is_an_error_that_names_the_resource(world: World) -> None:
    world.account.client("s3").create_bucket(
        Bucket="small-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    stack = world.stack("small", SmallProgram())
    with pytest.raises(auto.CommandError, match=r"s3/bucket:Bucket bucket: .*BucketAlreadyOwned"):
        stack.up()
    world.account.client("s3").delete_bucket(Bucket="small-bucket")
    assert "create" in stack.up()
    assert changes(stack.up()) == {}


def test_what_is_protected_stays(world: World) -> None:
    program = SmallProgram(protected=True)
    stack = world.stack("small", program)
    stack.up()

    with pytest.raises(auto.CommandError, match="cannot be deleted") as refused:
        stack.destroy()
    assert "s3/bucket:Bucket::bucket" in str(refused.value)
    assert len(world.aws.left()) == IN_ACCOUNT

    # AWS has a protection of its own, for what gets past that of the engine.
    program.protected, program.keeps_cluster = False, True
    assert changes(stack.up()) == {"update": 1}
    with pytest.raises(auto.CommandError, match="cluster small has deletion protection enabled"):
        stack.destroy()
    assert any(each.startswith("aws:eks/cluster:Cluster") for each in world.aws.left())

    program.keeps_cluster = False
    stack.up()
    stack.destroy()
    assert world.aws.left() == []


def test_a_bucket_with_objects_is_not_deleted(world: World) -> None:
    stack = world.stack("small", SmallProgram())
    stack.up()
    s3 = world.account.client("s3")
    s3.put_object(Bucket="small-bucket", Key="adapter", Body=b"weights")
    with pytest.raises(auto.CommandError, match="BucketNotEmpty"):
        stack.destroy()
    s3.delete_object(Bucket="small-bucket", Key="adapter")
    stack.destroy()
    assert world.aws.left() == []


def test_drift_is_found_and_put_right(world: World) -> None:
    program = SmallProgram()
    stack = world.stack("small", program)
    stack.up()
    world.account.client("logs").put_retention_policy(logGroupName="logs", retentionInDays=7)
    world.account.client("iam").delete_role_policy(RoleName="router", PolicyName="permissions")

    assert changes(stack.refresh()) == {"update": 1, "delete": 1}
    assert changes(stack.up()) == {"update": 1, "create": 1}
    assert world.aws.found(LOG_GROUP)["logs"]["retentionInDays"] == 30
    assert changes(stack.refresh()) == {}


def test_a_secret_is_in_the_account_and_not_in_the_state(world: World) -> None:
    stack = world.stack("small", SmallProgram())
    stack.up()
    kept = world.account.client("secretsmanager").get_secret_value(SecretId="password")
    assert kept["SecretString"] == SECRET
    stored = world.stored("small")
    assert "ciphertext" in stored
    assert SECRET not in stored


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda opts: aws.sqs.Queue("queue", name="queue", opts=opts),
            "does not know aws:sqs/queue:Queue",
        ),
        (
            lambda opts: aws.get_regions(opts=pulumi.InvokeOptions(provider=opts.provider)),
            "no function aws:index/getRegions:getRegions",
        ),
        (
            lambda opts: aws.ec2.Vpc(
                "vpc", cidr_block="10.0.0.0/16", ipv6_ipam_pool_id="x", opts=opts
            ),
            "ipv6IpamPoolId is not read back",
        ),
    ],
)
def test_what_the_stand_in_does_not_know_fails(world: World, declare: Any, message: str) -> None:
    def program() -> None:
        provider = aws.Provider("aws", region=REGION)
        declare(pulumi.ResourceOptions(provider=provider))

    stack: WorldStack = world.stack("unknown", program)
    with pytest.raises(auto.CommandError, match=message):
        stack.up()


def test_another_account_is_refused(tmp_path: Path) -> None:
    with new_world(tmp_path, number="123412341234", region=REGION) as other:
        stack = other.stack("small", SmallProgram())
        with pytest.raises(auto.CommandError, match="AWS account ID not allowed: 123412341234"):
            stack.preview()
