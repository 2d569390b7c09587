"""One long-running workload of an environment."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from substrates.substrate import Substrate
from substrates.workload import Job, Service


@dataclass(frozen=True, kw_only=True)
class EnvironmentServiceArgs:
    """A service, and what must be there before it."""

    substrate: Substrate
    service: Service
    before: Sequence[Job] = ()
    """Jobs that run to their end first, in order."""
    after: Sequence[pulumi.Resource] = field(default_factory=tuple)
    """Resources that the service needs."""


class EnvironmentService(pulumi.ComponentResource):
    """A service with the jobs that prepare it."""

    workload: pulumi.Resource
    """The service itself."""

    def __init__(
        self, name: str, args: EnvironmentServiceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the jobs, then the service.

        Args:
            name: Name of the service.
            args: The service and what comes before it.
            opts: Options of the component.
        """
        super().__init__("pipeline:environment:Service", name, {}, opts)
        needed = list(args.after)
        for job in args.before:
            options = pulumi.ResourceOptions(parent=self, depends_on=needed)
            needed = [*needed, args.substrate.job(job, options)]
        self.workload = args.substrate.service(
            args.service, pulumi.ResourceOptions(parent=self, depends_on=needed)
        )
        self.register_outputs({})
