"""One release of one domain: the jobs that its state machine wants to exist."""

from collections.abc import Callable
from dataclasses import dataclass

import pulumi

from registry.release import Plan, Step
from substrates.substrate import JobSubstrate
from substrates.workload import Job

JobOf = Callable[[Step], Job]


@dataclass(frozen=True, kw_only=True)
class AdapterReleaseArgs:
    """What the release is made of."""

    substrate: JobSubstrate
    plan: Plan
    """Which jobs to declare; decided before the resource graph is built."""
    job_of: JobOf
    """Renders a step as a job."""


class AdapterRelease(pulumi.ComponentResource):
    """Declares a release's jobs. It decides nothing: `registry.release.plan` has decided."""

    state: pulumi.Output[str]
    """State of the release when this `up` began."""
    jobs: dict[str, pulumi.Resource]
    """The declared jobs by run id."""

    def __init__(
        self, name: str, args: AdapterReleaseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the jobs.

        Args:
            name: The domain.
            args: Plan and substrate.
            opts: Options of the component.
        """
        super().__init__("pipeline:release:AdapterRelease", name, {}, opts)
        self.jobs = {}
        for step in args.plan.steps:
            # A job is its name and its attempt; nothing else may run it again.
            options = pulumi.ResourceOptions(parent=self)
            self.jobs[step.run_id] = args.substrate.job(args.job_of(step), options)
        self.state = pulumi.Output.from_input(str(args.plan.state))
        self.register_outputs({"state": self.state})
