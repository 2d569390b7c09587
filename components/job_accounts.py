"""ServiceAccounts of the jobs of one domain: one for each kind of step."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core

from components.pods import metadata


@dataclass(frozen=True, kw_only=True)
class JobAccountsArgs:
    """Whose jobs, and of which kinds."""

    provider: kubernetes.Provider
    namespace: str
    domain: str
    roles: Sequence[str]
    """Such as `train`: kinds of steps."""


class JobAccounts(pulumi.ComponentResource):
    """A ServiceAccount `<domain>-<role>` for each role; none has a token for Kubernetes."""

    names: dict[str, pulumi.Output[str]]
    """By role."""

    def __init__(
        self, name: str, args: JobAccountsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The accounts.
            opts: Options of the component.
        """
        super().__init__("pipeline:release:JobAccounts", name, {}, opts)
        self.names = {
            role: core.v1.ServiceAccount(
                account_of(args.domain, role),
                metadata=metadata(account_of(args.domain, role), args.namespace),
                automount_service_account_token=False,
                opts=pulumi.ResourceOptions(parent=self, provider=args.provider),
            ).metadata.name
            for role in args.roles
        }
        self.register_outputs({"names": self.names})


def account_of(domain: str, role: str) -> str:
    """Name of the ServiceAccount of a domain's jobs of one kind."""
    return f"{domain}-{role}"
