"""A role in AWS with its one policy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class RoleArgs:
    """Who may assume the role, and what it may do."""

    provider: aws.Provider
    role: str
    """Name of the role."""
    path: str
    """What the role is for, as policies of buckets and keys see it."""
    trust: pulumi.Input[Mapping[str, Any]]
    """Policy document that says who may assume it."""
    permissions: pulumi.Input[Sequence[Mapping[str, Any]]] | None = None
    """Statements of its own policy; None: it has none."""
    managed_policies: Sequence[str] = ()
    """ARNs of policies of AWS."""
    tags: Mapping[str, str]


class Role(pulumi.ComponentResource):
    """Role and policies."""

    arn: pulumi.Output[str]
    policies: tuple[pulumi.Resource, ...]
    """What must stand before anybody uses the role."""

    def __init__(
        self, name: str, args: RoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The role.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:Role", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        role = aws.iam.Role(
            name,
            name=args.role,
            path=args.path,
            assume_role_policy=pulumi.Output.from_input(args.trust).apply(json.dumps),
            tags=args.tags,
            opts=child,
        )
        self.policies = (*_own(name, args, role, child), *_managed(name, args, role, child))
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})


def _own(
    name: str, args: RoleArgs, role: aws.iam.Role, opts: pulumi.ResourceOptions
) -> tuple[pulumi.Resource, ...]:
    if args.permissions is None:
        return ()
    document = pulumi.Output.from_input(args.permissions).apply(_document)
    return (
        aws.iam.RolePolicy(name, name="permissions", role=role.name, policy=document, opts=opts),
    )


def _managed(
    name: str, args: RoleArgs, role: aws.iam.Role, opts: pulumi.ResourceOptions
) -> tuple[pulumi.Resource, ...]:
    return tuple(
        aws.iam.RolePolicyAttachment(
            f"{name}-{arn.rpartition('/')[2]}", role=role.name, policy_arn=arn, opts=opts
        )
        for arn in args.managed_policies
    )


def _document(statements: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
