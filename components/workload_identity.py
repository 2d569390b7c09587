"""Who the pods of one ServiceAccount are in AWS."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentityArgs:
    """A ServiceAccount, and what its pods may do."""

    provider: aws.Provider
    cluster: pulumi.Input[str]
    """Name of the EKS cluster."""
    namespace: str
    service_account: str
    role: str
    """Name of the role."""
    path: str
    """What the role is for, as bucket and key policies see it."""
    trust: pulumi.Input[Mapping[str, Any]]
    """Who may assume it: EKS Pod Identity, for this ServiceAccount of this cluster."""
    permissions: pulumi.Input[Sequence[Mapping[str, Any]]]
    """Statements of its one policy."""
    tags: Mapping[str, str]


class WorkloadIdentity(pulumi.ComponentResource):
    """Role, its policy, and the association that makes EKS give it to the pods.

    EKS gives credentials to pods that start after the association: workloads depend on `ready`. The
    ServiceAccount need not exist yet.
    """

    role: aws.iam.Role
    ready: tuple[pulumi.Resource, ...]

    def __init__(
        self, name: str, args: WorkloadIdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The identity.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:WorkloadIdentity", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.role = aws.iam.Role(
            name,
            name=args.role,
            path=args.path,
            assume_role_policy=pulumi.Output.from_input(args.trust).apply(json.dumps),
            tags=args.tags,
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            name,
            name="permissions",
            role=self.role.name,
            policy=pulumi.Output.from_input(args.permissions).apply(_document),
            opts=child,
        )
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=self.role.arn,
            tags=args.tags,
            # A pod that starts must find all of its permissions.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[policy])),
        )
        self.ready = (association,)
        self.register_outputs({"role": self.role.arn})


def _document(statements: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
