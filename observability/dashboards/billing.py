"""From the ledger to closed months: is everything on its way?"""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.alerts import BILLING_JOBS
from observability.dashboards.panels import (
    AnyPanel,
    Column,
    Query,
    Row,
    board,
    number,
    rows_of,
    series,
)
from observability.promql import per_second, quantile, scoped

_SERVER = "pod, instance"
_LEGEND = "{{pod}} {{instance}}"


def billing() -> Dashboard:
    """For finance, and for who looks after the ledger."""
    return board(
        "pipeline-billing",
        "Pipeline / Billing health",
        "Ledger, shipping, what waits for finance, and the jobs of the month.",
        [
            Row("Now", _now()),
            Row("Ledger", _ledger()),
            Row("Warehouse and jobs", _warehouse()),
        ],
    )


def _now() -> list[AnyPanel]:
    return [
        number(
            "Billed until",
            "End of the newest closed month.",
            units.DatetimeISO,
            f"min({scoped('pipeline_billing_closed_timestamp_seconds')}) * 1000",
        ),
        number(
            "Oldest unshipped",
            "Age of the last shipment of the writer that lags most.",
            units.Seconds,
            f"time() - min({scoped('pipeline_ledger_shipped_timestamp_seconds')})",
        ),
        number(
            "Findings for finance",
            "What cannot be billed as it is, in the months that are not closed.",
            units.Short,
            f"sum({scoped('pipeline_billing_attention')})",
        ),
        number(
            "Orphans",
            "Requests of the open months that were admitted and have no end: a crash cut them off.",
            units.Short,
            f"sum({scoped('pipeline_billing_orphans')})",
        ),
    ]


def _ledger() -> list[AnyPanel]:
    return [
        series(
            "Commit latency",
            "99th percentile of one write and sync; the last byte of an answer waits for it.",
            units.Seconds,
            Query(quantile(0.99, "router_ledger_commit_seconds", by=_SERVER), _LEGEND),
        ),
        series(
            "Records on the disk",
            "Intents and events that became durable.",
            units.CountsPerSecond,
            Query(per_second("router_ledger_records_total", by=_SERVER), _LEGEND),
        ),
        series(
            "Ledger written",
            "0: the last write failed, and the router refuses requests.",
            units.Short,
            Query(f"min by ({_SERVER}) ({scoped('router_ledger_healthy')})", _LEGEND),
        ),
        series(
            "Traces lost",
            "Bills do not depend on them; reconciliation names them.",
            units.CountsPerSecond,
            Query(per_second("router_traces_dropped_total", by=_SERVER), _LEGEND),
        ),
    ]


def _warehouse() -> list[AnyPanel]:
    shipped = scoped("pipeline_ledger_shipped_timestamp_seconds")
    attention = scoped("pipeline_billing_attention")
    job = f'cronjob=~"{BILLING_JOBS}"'
    scheduled = scoped("kube_cronjob_status_last_schedule_time", job)
    succeeded = scoped("kube_cronjob_status_last_successful_time", job)
    return [
        series(
            "Age of the last shipment",
            "By writer. A month is closed only when every writer has shipped past its end.",
            units.Seconds,
            Query(f"time() - max by (writer) ({shipped})", "{{writer}}"),
        ),
        series(
            "Findings for finance, by kind",
            "In the months that are not closed.",
            units.Short,
            Query(f"sum by (kind) ({attention})", "{{kind}}"),
        ),
        rows_of(
            "Jobs",
            "Where the last success is older than the last schedule, the run failed or still goes.",
            [
                Column(
                    f"max by (cronjob) ({scheduled}) * 1000", "last schedule", units.DateTimeFromNow
                ),
                Column(
                    f"max by (cronjob) ({succeeded}) * 1000", "last success", units.DateTimeFromNow
                ),
            ],
        ),
    ]
