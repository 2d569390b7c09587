"""Who the pods of one ServiceAccount are in AWS."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.role import Role, RoleArgs


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentityArgs:
    """A ServiceAccount, and the role of its pods."""

    role: RoleArgs
    """Trusts EKS Pod Identity, for this ServiceAccount of this cluster."""
    cluster: pulumi.Input[str]
    """Name of the EKS cluster."""
    namespace: str
    service_account: str


class WorkloadIdentity(pulumi.ComponentResource):
    """A role, and the association that makes EKS give it to the pods.

    The ServiceAccount need not exist yet. Pods must start after `ready`: EKS gives credentials to
    none that runs already.
    """

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
        role = Role(name, args.role, pulumi.ResourceOptions(parent=self))
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            tags=args.role.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=args.role.provider,
                # A pod that starts must find all of its permissions.
                depends_on=list(role.policies),
            ),
        )
        self.ready = (association,)
        self.register_outputs({"role": role.arn})
