"""A role in AWS for the pods of one ServiceAccount, by EKS Pod Identity."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

TRUST: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }
        ],
    }
)
"""Lets the agent on each node assume a role for a pod."""
_MAX_ROLE_NAME: Final = 64


@dataclass(frozen=True, kw_only=True)
class PodRoleArgs:
    """Whose role it is and what it may do."""

    provider: aws.Provider
    role: str
    """Name of the role, with the prefix of the environment."""
    cluster: pulumi.Input[str]
    namespace: str
    service_account: str
    statements: Sequence[Mapping[str, Any]] = ()
    """Of the role's own policy."""
    managed_policies: Sequence[str] = ()
    """ARNs of policies of AWS."""
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.role) > _MAX_ROLE_NAME:
            raise ValueError(
                f"role {self.role!r} has {len(self.role)} characters: IAM allows {_MAX_ROLE_NAME}; "
                "shorten the environment's prefix"
            )


class PodRole(pulumi.ComponentResource):
    """Role, its policies, and the association with the ServiceAccount."""

    role: aws.iam.Role
    association: aws.eks.PodIdentityAssociation
    """Pods that start before it have no credentials."""

    def __init__(
        self, name: str, args: PodRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The role.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:PodRole", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        tags = {**args.tags, "Name": args.role}
        self.role = aws.iam.Role(
            name, name=args.role, assume_role_policy=TRUST, tags=tags, opts=child
        )
        policies: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{arn.rpartition('/')[2]}",
                role=self.role.name,
                policy_arn=arn,
                opts=child,
            )
            for arn in args.managed_policies
        ]
        if args.statements:
            document = {"Version": "2012-10-17", "Statement": [dict(s) for s in args.statements]}
            policies.append(
                aws.iam.RolePolicy(
                    name,
                    name=args.role,
                    role=self.role.name,
                    policy=pulumi.Output.json_dumps(document),
                    opts=child,
                )
            )
        self.association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=self.role.arn,
            tags=tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=policies)),
        )
        self.register_outputs({"role": self.role.arn})
