"""The jobs of billing: day parts, the close of months, the reconciliation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta

from components.object_store import ObjectStoreAccess
from components.pods import (
    CONFIG_DIRECTORY,
    SCRATCH,
    Container,
    Peer,
    Resources,
    SecretKey,
    labels_of,
)
from components.scheduled_job import ScheduledJob, ScheduledJobArgs

PRICES_FILE = f"{CONFIG_DIRECTORY}/prices.yaml"
"""Where the jobs find the price table."""
_CONFIG = "billing-config"
_HOUR = 3600
_START_LIMIT_S = 12 * _HOUR
"""Late is better than not at all, as long as it is before the next day's run."""

# The image cannot be written to: copies of the warehouse's files, DuckDB's temporary ones, and what
# Matplotlib finds out about fonts go to the scratch volume.
_CACHES = {"XDG_CACHE_HOME": SCRATCH, "MPLCONFIGDIR": f"{SCRATCH}/matplotlib"}


@dataclass(frozen=True, kw_only=True)
class BillingJobsArgs:
    """What is billed, with which prices, and what the jobs may reach."""

    provider: kubernetes.Provider
    namespace: str
    image: str
    """Image of the infrastructure environment, which bills, by digest."""
    billing: str
    """JSON of `serving.billing.config.BillingConfig`; it finds the prices at `PRICES_FILE`."""
    prices: str
    """YAML of the price table."""
    reconciliation: str
    """JSON of `serving.reconciliation.config.ReconciliationConfig`."""
    object_store: ObjectStoreAccess
    """Where the warehouse and the registry are, and who gives the credentials for it."""
    traces: Sequence[Peer] = ()
    """Where the reconciliation asks for traces."""
    trace_credentials: Mapping[str, SecretKey] | None = None
    """Variables of whoever asks for traces; None where they need none."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What differs between the jobs."""

    command: tuple[str, ...]
    schedule: str
    run_limit_s: int
    resources: Resources
    final_exit_codes: tuple[int, ...] = ()
    reads_traces: bool = False


# Each begins when the one before it has run into its limit at the latest, and all again the next
# day: each goes on from what the warehouse holds. The close finds by itself which month is due, so
# it needs no schedule of its own by month. Runs that the cluster starts late may overlap: that
# costs work done twice and nothing else, because no job relies on another's run.
_PARTS = _Kind(
    command=("serving.billing", "parts", "--config", f"{CONFIG_DIRECTORY}/billing.json"),
    schedule="30 1 * * *",
    run_limit_s=3 * _HOUR,
    resources=Resources(cpu="2", memory="4Gi", scratch="50Gi"),
)
_RECONCILIATION = _Kind(
    command=("serving.reconciliation", "--config", f"{CONFIG_DIRECTORY}/reconciliation.json"),
    schedule="30 4 * * *",
    run_limit_s=2 * _HOUR,
    resources=Resources(cpu="1", memory="4Gi", scratch="20Gi"),
    # 4: something is unknown. Asking again does not explain it.
    final_exit_codes=(4,),
    reads_traces=True,
)
_CLOSE = _Kind(
    command=("serving.billing", "close", "--config", f"{CONFIG_DIRECTORY}/billing.json"),
    schedule="30 6 * * *",
    run_limit_s=2 * _HOUR,
    resources=Resources(cpu="1", memory="4Gi", scratch="20Gi"),
    # 3: closed, and a person must look at what is not billed.
    final_exit_codes=(3,),
)


class BillingJobs(pulumi.ComponentResource):
    """Three scheduled jobs and the configuration that they share."""

    parts: ScheduledJob
    close: ScheduledJob
    reconciliation: ScheduledJob

    def __init__(
        self, name: str, args: BillingJobsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: What is billed.
            opts: Options of the component.
        """
        super().__init__("pipeline:billing:BillingJobs", name, {}, opts)
        config = core.v1.ConfigMap(
            f"{name}-config",
            metadata=meta.v1.ObjectMetaArgs(namespace=args.namespace, labels=labels_of(_CONFIG)),
            immutable=True,
            data={
                "billing.json": args.billing,
                "prices.yaml": args.prices,
                "reconciliation.json": args.reconciliation,
            },
            opts=pulumi.ResourceOptions(parent=self, provider=args.provider),
        )

        self.parts = self._job(f"{name}-parts", _PARTS, args, config)
        self.close = self._job(f"{name}-close", _CLOSE, args, config)
        self.reconciliation = self._job(f"{name}-reconciliation", _RECONCILIATION, args, config)
        jobs = (self.parts, self.close, self.reconciliation)
        self.register_outputs({"jobs": [each.cron_job.metadata.name for each in jobs]})

    def _job(
        self, name: str, kind: _Kind, args: BillingJobsArgs, config: core.v1.ConfigMap
    ) -> ScheduledJob:
        container = Container(
            name=name,
            image=args.image,
            command=("python", "-m", *kind.command),
            resources=kind.resources,
            config_map=config.metadata.name,
            environment={**args.object_store.environment, **_CACHES},
            secrets={
                **args.object_store.secrets,
                **((args.trace_credentials or {}) if kind.reads_traces else {}),
            },
        )
        job = ScheduledJobArgs(
            provider=args.provider,
            namespace=args.namespace,
            container=container,
            schedule=kind.schedule,
            run_limit_s=kind.run_limit_s,
            start_limit_s=_START_LIMIT_S,
            egress=[*args.object_store.peers, *(args.traces if kind.reads_traces else ())],
            final_exit_codes=kind.final_exit_codes,
        )
        return ScheduledJob(name, job, pulumi.ResourceOptions(parent=self))
