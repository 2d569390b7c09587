"""A job that Kubernetes starts by the clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import batch, core, meta, networking

from components.checks import cron_job_name, cron_schedule
from components.pods import Container, Peer, labels_of, metadata, network_policy, pod_spec

_ATTEMPTS_AGAIN = 2
_KEPT_SUCCESSES, _KEPT_FAILURES = 3, 5


@dataclass(frozen=True, kw_only=True)
class ScheduledJobArgs:
    """What runs, when, and what it may reach."""

    provider: kubernetes.Provider
    namespace: str
    container: Container
    """Its name is the name of the job."""
    schedule: str
    """Five cron fields, in UTC."""
    run_limit_s: int
    """A run that takes longer is stopped and counts as failed."""
    start_limit_s: int
    """A run that could not start within this time of its schedule is skipped."""
    egress: Sequence[Peer]
    final_exit_codes: Sequence[int] = ()
    """Exit codes that are an answer: another attempt would give the same one."""

    def __post_init__(self) -> None:
        cron_job_name(self.container.name, "ScheduledJobArgs.container.name")
        cron_schedule(self.schedule, self.container.name)


class ScheduledJob(pulumi.ComponentResource):
    """CronJob with a ServiceAccount and a NetworkPolicy of its own."""

    service_account: core.v1.ServiceAccount
    """For a Pod Identity association with the role of this job."""
    cron_job: batch.v1.CronJob

    def __init__(
        self, name: str, args: ScheduledJobArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the three.

        Args:
            name: Name of the component.
            args: The job.
            opts: Options of the component.
        """
        super().__init__("pipeline:kubernetes:ScheduledJob", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        job = args.container.name
        self.service_account = core.v1.ServiceAccount(
            name,
            metadata=metadata(job, args.namespace),
            automount_service_account_token=False,
            opts=child,
        )
        policy = networking.v1.NetworkPolicy(
            name,
            metadata=metadata(job, args.namespace),
            spec=network_policy(job, egress=args.egress),
            opts=child,
        )
        self.cron_job = batch.v1.CronJob(
            name,
            metadata=metadata(job, args.namespace),
            spec=_spec(args, self.service_account.metadata.name),
            # The first run must not start before its limits stand.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[policy])),
        )
        self.register_outputs({"cron_job": self.cron_job.metadata.name})


def _spec(args: ScheduledJobArgs, service_account: pulumi.Input[str]) -> batch.v1.CronJobSpecArgs:
    labels = labels_of(args.container.name)
    return batch.v1.CronJobSpecArgs(
        schedule=args.schedule,
        time_zone="Etc/UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=args.start_limit_s,
        successful_jobs_history_limit=_KEPT_SUCCESSES,
        failed_jobs_history_limit=_KEPT_FAILURES,
        job_template=batch.v1.JobTemplateSpecArgs(
            metadata=meta.v1.ObjectMetaArgs(labels=labels),
            spec=batch.v1.JobSpecArgs(
                backoff_limit=_ATTEMPTS_AGAIN,
                active_deadline_seconds=args.run_limit_s,
                pod_failure_policy=_failure_policy(args.final_exit_codes),
                template=core.v1.PodTemplateSpecArgs(
                    metadata=meta.v1.ObjectMetaArgs(labels=labels),
                    spec=pod_spec(args.container, service_account=service_account, restart="Never"),
                ),
            ),
        ),
    )


def _failure_policy(final: Sequence[int]) -> batch.v1.PodFailurePolicyArgs | None:
    if not final:
        return None
    codes = batch.v1.PodFailurePolicyOnExitCodesRequirementArgs(operator="In", values=sorted(final))
    return batch.v1.PodFailurePolicyArgs(
        rules=[batch.v1.PodFailurePolicyRuleArgs(action="FailJob", on_exit_codes=codes)]
    )
