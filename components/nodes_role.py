"""Who nodes are in AWS, and how those with EFA reach each other."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

_POLICIES: Final = (
    "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
    "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
)
"""Joining the cluster, Pod Identity, pulling images; pods have roles of their own."""
_TRUST: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


@dataclass(frozen=True, kw_only=True)
class NodesRoleArgs:
    """Of which cluster."""

    provider: aws.Provider
    prefix: str
    vpc_id: pulumi.Input[str]
    needs_efa: bool
    tags: Mapping[str, str]


class NodesRole(pulumi.ComponentResource):
    """The role of every node, and a security group for EFA."""

    role: aws.iam.Role
    policies: tuple[pulumi.Resource, ...]
    """A node that starts before them cannot join."""
    efa_security_group: pulumi.Output[str] | None
    """None where no node has EFA."""

    def __init__(
        self, name: str, args: NodesRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The cluster.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:NodesRole", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        role = f"{args.prefix}-nodes"
        self.role = aws.iam.Role(
            name,
            name=role,
            assume_role_policy=_TRUST,
            tags={**args.tags, "Name": role},
            opts=child,
        )
        self.policies = tuple(
            aws.iam.RolePolicyAttachment(
                f"{name}-{arn.rpartition('/')[2]}",
                role=self.role.name,
                policy_arn=arn,
                opts=child,
            )
            for arn in _POLICIES
        )
        self.efa_security_group = _efa_group(name, args, child) if args.needs_efa else None
        self.register_outputs({"role": self.role.arn})


def _efa_group(name: str, args: NodesRoleArgs, opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    """EFA passes by rules that name the group itself only, in both directions.

    Source: EC2 user guide, "Get started with EFA", step 1.
    """
    tags = {**args.tags, "Name": f"{args.prefix}-efa"}
    group = aws.ec2.SecurityGroup(
        f"{name}-efa",
        name=f"{args.prefix}-efa",
        description="EFA between nodes",
        vpc_id=args.vpc_id,
        tags=tags,
        opts=opts,
    )
    for rule in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
        rule(
            f"{name}-efa",
            security_group_id=group.id,
            referenced_security_group_id=group.id,
            ip_protocol="-1",
            tags=tags,
            opts=opts,
        )
    return group.id
