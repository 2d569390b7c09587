"""What somebody must act on. docs/runbooks.md has one section for each alert."""

from observability.recording import ERROR_RATIO
from observability.rules import AlertRule, RuleGroup

RECONCILIATION_JOB = "billing-reconciliation"
BILLING_JOBS = "billing-.+"
"""Names of the CronJobs of billing, as a regular expression."""

# A scheduled run of a CronJob after which no run has succeeded.
_NOT_DONE = (
    "kube_cronjob_status_last_schedule_time{{cronjob{match}}} unless on (namespace, cronjob)"
    " (kube_cronjob_status_last_successful_time >= on (namespace, cronjob)"
    " kube_cronjob_status_last_schedule_time)"
)


def alert_rules() -> tuple[RuleGroup, ...]:
    """Every alert, by who looks after it."""
    return (
        RuleGroup(name="pipeline-router", rules=_ROUTER),
        RuleGroup(name="pipeline-model-servers", rules=_MODEL_SERVERS),
        RuleGroup(name="pipeline-billing", rules=_BILLING, interval="1m"),
    )


_ROUTER = (
    AlertRule(
        name="RouterAbsent",
        expr="absent(router_in_flight)",
        wait="5m",
        severity="critical",
        summary="No router is being scraped",
        description=(
            "Either no router runs, so every request fails, or Prometheus cannot reach any: then "
            "every other alert about requests and the ledger is silent."
        ),
    ),
    AlertRule(
        name="RouterErrorRatio",
        expr=(
            f"{ERROR_RATIO} > 0.02 and on (namespace)"
            " sum by (namespace) (rate(router_requests_total[5m])) > 0.1"
        ),
        wait="10m",
        severity="critical",
        summary="{{ $value | humanizePercentage }} of requests in {{ $labels.namespace }} fail",
        description=(
            "More than 2 % of the requests ended with a status of 500 or more for ten minutes. "
            "Customers see errors; failed requests are not billed."
        ),
    ),
    AlertRule(
        name="LedgerNotWritten",
        expr="router_ledger_healthy == 0",
        wait="1m",
        severity="critical",
        summary="The ledger of {{ or $labels.pod $labels.instance }} does not reach the disk",
        description=(
            "The router's last ledger write failed. It refuses requests rather than serve what "
            "cannot be billed, so its customers get errors."
        ),
    ),
    AlertRule(
        name="LedgerSlow",
        expr=(
            "histogram_quantile(0.99, sum by (namespace, pod, instance, le)"
            " (rate(router_ledger_commit_seconds_bucket[10m]))) > 0.1"
        ),
        wait="10m",
        severity="warning",
        summary="{{ or $labels.pod $labels.instance }}: a commit of the ledger is slow",
        description=(
            "One commit in a hundred takes over 100 ms. The last byte of every answer waits for "
            "its commit, so customers see the delay."
        ),
    ),
    AlertRule(
        name="TracesDropped",
        expr="sum by (namespace) (increase(router_traces_dropped_total[15m])) > 0",
        wait="5m",
        severity="warning",
        summary="{{ $value }} traces were lost in {{ $labels.namespace }} in 15 minutes",
        description=(
            "The trace receiver is away or too slow. Requests and bills are not affected; traces "
            "of these requests are gone, and reconciliation will name them as dropped."
        ),
    ),
)

_MODEL_SERVERS = (
    AlertRule(
        name="KvCacheSaturated",
        expr="avg_over_time(vllm:kv_cache_usage_perc[10m]) > 0.95",
        wait="10m",
        severity="warning",
        summary="KV cache of {{ or $labels.pod $labels.instance }} is full",
        description=(
            "The KV cache was over 95 % full for ten minutes: requests wait, or are preempted and "
            "computed again, and the prefix cache loses its blocks."
        ),
    ),
    AlertRule(
        name="ModelServerSilent",
        expr="adapter_sync_model_server_up == 0",
        wait="5m",
        severity="critical",
        summary="The model server of {{ or $labels.pod $labels.instance }} does not answer",
        description="adapter-sync gets no answer from the model server in its pod.",
    ),
    AlertRule(
        name="AdapterNotLoaded",
        expr='adapter_sync_adapter{state!="loaded"} == 1',
        wait="10m",
        severity="critical",
        summary=(
            "{{ $labels.served_model }} is {{ $labels.state }} on"
            " {{ or $labels.pod $labels.instance }}"
        ),
        description=(
            "The registry wants this adapter on this server and it has not been loaded for ten "
            "minutes. Where no server of the pool holds it, the domain's requests are refused."
        ),
    ),
    AlertRule(
        name="GpuPodsWaiting",
        expr=(
            "kube_pod_status_unschedulable == 1 and on (namespace, pod)"
            ' kube_pod_container_resource_requests{resource="nvidia_com_gpu"} > 0'
        ),
        wait="15m",
        severity="warning",
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has waited 15 minutes for a GPU",
        description=(
            "No node with a free GPU takes the pod: the pool serves with fewer servers than it "
            "should, or a training or evaluation job does not start."
        ),
    ),
)

_BILLING = (
    AlertRule(
        name="ExporterStale",
        expr=(
            "time() - pipeline_exporter_read_timestamp_seconds > 900"
            " or absent(pipeline_exporter_read_timestamp_seconds)"
        ),
        wait="5m",
        severity="warning",
        summary="The state of registry or warehouse has not been read for 15 minutes",
        description=(
            "The exporter is away or cannot read its store: alerts about shipping, attention and "
            "the closing of months are blind."
        ),
    ),
    AlertRule(
        name="LedgerNotShipped",
        expr="time() - pipeline_ledger_shipped_timestamp_seconds > 1800",
        wait="5m",
        severity="critical",
        summary="{{ $labels.writer }} last shipped its ledger {{ $value | humanizeDuration }} ago",
        description=(
            "What this router served since then is on its volume only. A month cannot be closed "
            "before every writer has shipped past its end."
        ),
    ),
    AlertRule(
        name="LedgerDamaged",
        expr="pipeline_ledger_damaged_segments > 0 or pipeline_ledger_lost_volumes > 0",
        wait="5m",
        severity="critical",
        summary="Part of the ledger of {{ $labels.writer }} is damaged or lost",
        description=(
            "A segment cannot be read, or a volume was replaced before all of it was shipped: "
            "requests may be missing from the bill."
        ),
    ),
    AlertRule(
        name="BillingJobNotDone",
        expr=_NOT_DONE.format(match=f'=~"{BILLING_JOBS}",cronjob!="{RECONCILIATION_JOB}"'),
        # Longer than any of these jobs may run.
        wait="4h",
        severity="warning",
        summary="{{ $labels.cronjob }} has not succeeded since its last schedule",
        description=(
            "The run failed or ran into its time limit; or it closed a month and a person must "
            "look at what is not billed."
        ),
    ),
    AlertRule(
        name="ReconciliationUnknown",
        expr=_NOT_DONE.format(match=f'="{RECONCILIATION_JOB}"'),
        # Longer than it may run.
        wait="3h",
        severity="critical",
        summary="Ledger and counters differ by more than the reconciliation can explain",
        description=(
            "The reconciliation ended with an error: it found requests or tokens beyond its bound "
            "that no named cause explains, or it could not run. The month should not be closed "
            "before this is understood."
        ),
    ),
    AlertRule(
        name="BillingAttention",
        expr="sum by (namespace, kind) (pipeline_billing_attention) > 0",
        wait="1h",
        severity="warning",
        summary="{{ $value }} findings of kind {{ $labels.kind }} wait for finance",
        description="Something in the open months cannot be billed as it is; nothing was dropped.",
    ),
    AlertRule(
        name="MonthNotClosed",
        # Within day D of a month, its start is at most D days ago; day_of_month() is in UTC.
        expr=(
            "time() - pipeline_billing_closed_timestamp_seconds > scalar(day_of_month()) * 86400"
            " and on () day_of_month() > 5"
        ),
        wait="1h",
        severity="critical",
        summary="Last month is not closed on the sixth day of this one",
        description="No invoices exist for last month.",
    ),
)
