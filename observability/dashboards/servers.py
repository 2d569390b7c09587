"""Model servers: KV cache, batches, LoRA slots."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.panels import AnyPanel, Column, Query, Row, board, rows_of, series
from observability.promql import per_second, quantile, scoped

_SERVER = "namespace, pod, instance"
"""`pod` comes from Kubernetes, `instance` from every Prometheus."""
_LEGEND = "{{pod}} {{instance}}"


def servers() -> Dashboard:
    """For who looks after the GPUs."""
    return board(
        "pipeline-servers",
        "Pipeline / Model servers",
        "vLLM and the adapters it holds.",
        [
            Row("Load", _load()),
            Row("Caches", _caches()),
            Row("Speed", _speed()),
            Row("Adapters", _adapters()),
        ],
    )


def _load() -> list[AnyPanel]:
    reasons = f"sum by (reason) ({scoped('vllm:num_requests_waiting_by_reason')})"
    unschedulable = scoped("kube_pod_status_unschedulable")
    gpus = scoped("kube_pod_container_resource_requests", 'resource="nvidia_com_gpu"')
    return [
        series(
            "Requests in a batch",
            "Running on each server.",
            units.Short,
            _each("vllm:num_requests_running"),
        ),
        series(
            "Requests waiting, by reason",
            "capacity: no room in the batch or the KV cache. deferred: held back, as by the "
            "number of adapters that one batch may use.",
            units.Short,
            Query(reasons, "{{reason}}"),
        ),
        series(
            "Tokens computed",
            "By the servers' own counters: prefill and generation.",
            units.CountsPerSecond,
            Query(per_second("vllm:prompt_tokens_total", by="model_name"), "prompt {{model_name}}"),
            Query(
                per_second("vllm:generation_tokens_total", by="model_name"),
                "generation {{model_name}}",
            ),
        ),
        series(
            "Pods waiting for a GPU",
            "No node takes them.",
            units.Short,
            Query(
                f"sum by (namespace) ({unschedulable} and on (namespace, pod) {gpus} > 0)",
                "{{namespace}}",
            ),
        ),
    ]


def _caches() -> list[AnyPanel]:
    hits = per_second("vllm:prefix_cache_hits_total", by=_SERVER)
    queries = per_second("vllm:prefix_cache_queries_total", by=_SERVER)
    return [
        series(
            "KV cache in use",
            "Near 100 % requests wait or are preempted.",
            units.PercentUnit,
            _each("vllm:kv_cache_usage_perc"),
        ),
        series(
            "Preemptions",
            "Requests thrown out of a batch to make room; they are computed again.",
            units.CountsPerSecond,
            Query(per_second("vllm:num_preemptions_total", by=_SERVER), _LEGEND),
        ),
        series(
            "Prefix cache hits",
            "Share of looked-up input tokens that the cache held.",
            units.PercentUnit,
            Query(f"{hits} / {queries}", _LEGEND),
        ),
    ]


def _speed() -> list[AnyPanel]:
    return [
        series(
            title,
            "95th percentile, as the servers measure it.",
            units.Seconds,
            Query(quantile(0.95, histogram, by="model_name"), "{{model_name}}"),
        )
        for title, histogram in (
            ("Time to the first token", "vllm:time_to_first_token_seconds"),
            ("Time between tokens", "vllm:inter_token_latency_seconds"),
        )
    ]


def _adapters() -> list[AnyPanel]:
    states = scoped("adapter_sync_adapter")
    # The value is the time of the last change; older lists of adapters stay as older series.
    newest = f"topk by (instance) (1, {scoped('vllm:lora_requests_info')})"
    slots = (
        "max by (pod, instance, max_lora, running_lora_adapters, waiting_lora_adapters)"
        f" ({newest}) * 1000"
    )
    return [
        series(
            "Adapters by state",
            "Wanted by the registry on each server. failed: refused or broken; the reason is in "
            "the log of adapter-sync.",
            units.Short,
            Query(f"count by (pod, instance, state) ({states})", f"{{{{state}}}} {_LEGEND}"),
        ),
        series(
            "Servers that answer adapter-sync",
            "1 when the model server in the pod answers.",
            units.Short,
            _each("adapter_sync_model_server_up"),
        ),
        rows_of(
            "LoRA slots",
            "max_lora: adapters that one batch may use. running and waiting: those with requests "
            "in a batch and in the queue, when vLLM last said.",
            [Column(slots, "since", units.DateTimeFromNow)],
        ),
    ]


def _each(metric: str) -> Query:
    return Query(f"max by ({_SERVER}) ({scoped(metric)})", _LEGEND)
