"""Roles in the account of an environment: of pods, and of people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pulumi
import pulumi_aws as aws

from components.role import Role, RoleArgs
from components.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from registry import layout
from stacks.config.storage import People
from stacks.policies import trust
from stacks.policies.names import Account, Capacity
from stacks.policies.people import approver_permissions, releaser_permissions
from stacks.policies.statements import Places, Statement
from stacks.policies.workloads import workload_permissions
from stacks.programs.cluster.context import Workload


@dataclass(frozen=True, kw_only=True)
class Identities:
    """What roles are made of."""

    provider: aws.Provider
    account: Account
    cluster: pulumi.Input[str]
    """Name of the EKS cluster."""
    storage_key: pulumi.Input[str]
    """ARN of the key that objects are encrypted with."""
    signing_key: pulumi.Input[str]
    """ARN of the key that verdicts are signed with."""
    tags: Mapping[str, str]

    def of_workloads(
        self, workloads: Sequence[Workload], *, namespace: str, service_account: str
    ) -> WorkloadIdentity:
        """Declare the identity of pods in which these workloads run together."""
        return self.of_pods(
            self.account.role_name(namespace, service_account),
            capacity=None,
            namespace=namespace,
            service_account=service_account,
            statements=partial(workload_permissions, workloads=tuple(workloads)),
        )

    def of_pods(
        self,
        role: str,
        *,
        capacity: Capacity | None,
        namespace: str,
        service_account: str,
        statements: Callable[[Places], Sequence[Statement]],
    ) -> WorkloadIdentity:
        """Declare the identity of the pods of one ServiceAccount.

        Args:
            role: Name of the role.
            capacity: What buckets and keys reserve for it.
            namespace: Of the ServiceAccount.
            service_account: Its name.
            statements: Makes the statements of the role's policy.
        """
        trusted = pulumi.Output.from_input(self.cluster).apply(
            lambda cluster: trust.pods_of(self.account, cluster, namespace, service_account)
        )
        return WorkloadIdentity(
            f"{namespace}-{service_account}",
            WorkloadIdentityArgs(
                role=self._role(role, capacity, trusted, statements),
                cluster=self.cluster,
                namespace=namespace,
                service_account=service_account,
            ),
        )

    def of_people(self, people: People) -> None:
        """Declare the roles of those who approve, and of those who move pointers by hand."""
        for reviewer, member in people.approvers.items():
            self._assumed_by(
                [member],
                "approve",
                layout.reviewer_key(reviewer),
                statements=partial(approver_permissions, reviewer=reviewer),
            )
        if people.releasers:
            self._assumed_by(people.releasers, "release", statements=releaser_permissions)

    def _assumed_by(
        self,
        members: Sequence[str],
        capacity: Capacity,
        *who: str,
        statements: Callable[[Places], Sequence[Statement]],
    ) -> None:
        parts = ("people", capacity, *who)
        trusted = trust.roles(members)
        Role(
            "-".join(parts),
            self._role(self.account.role_name(*parts), capacity, trusted, statements),
        )

    def _role(
        self,
        name: str,
        capacity: Capacity | None,
        trusted: pulumi.Input[Mapping[str, object]],
        statements: Callable[[Places], Sequence[Statement]],
    ) -> RoleArgs:
        keys = pulumi.Output.all(self.storage_key, self.signing_key)
        return RoleArgs(
            provider=self.provider,
            role=name,
            path=self.account.role_path(capacity),
            trust=trusted,
            permissions=keys.apply(lambda arns: statements(self._places(*arns))),
            tags=self.tags,
        )

    def _places(self, storage_key: str, signing_key: str) -> Places:
        return Places(account=self.account, storage_key=storage_key, signing_key=signing_key)
