"""Requests, latency, tokens and queues, as customers see them."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.panels import AnyPanel, Query, Row, board, number, series
from observability.promql import per_second, quantile, scoped

_REQUESTS = "router_requests_total"
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_FAILED = 'status=~"5.."'
_ALL = ('pool!=""', 'domain=~"$domain"')
"""Every admitted request; those refused before have no pool."""
_LLM = ('pool="llm"', 'domain=~"$domain"')


def traffic() -> Dashboard:
    """The first dashboard to look at."""
    return board(
        "pipeline-traffic",
        "Pipeline / Traffic and latency",
        "Requests through the routers: how many, how fast, how many fail, which pool answers.",
        [
            Row("Now", _now()),
            Row("Requests", _requests()),
            Row("Latency (all domains)", _latency()),
            Row("Tokens and queues", _tokens()),
        ],
        "domain",
    )


def _now() -> list[AnyPanel]:
    errors = f"sum({_rate(_FAILED, *_ALL)}) / sum({_rate(*_ALL)})"
    escalated = f"sum({_rate(*_LLM)}) / sum({_rate(*_ALL)})"
    return [
        number(
            "Requests per second",
            "Requests that ended, of all pools.",
            units.RequestsPerSecond,
            f"sum({_rate(*_ALL)})",
        ),
        number(
            "Failing", "Share that ended with a status of 500 or more.", units.PercentUnit, errors
        ),
        number(
            "Answered by llm",
            "Escalation rate: share of requests whose answer came from the pool llm.",
            units.PercentUnit,
            escalated,
        ),
        number(
            "In flight",
            "Requests being served right now, of all domains.",
            units.Short,
            f"sum({scoped('router_in_flight')})",
        ),
    ]


def _requests() -> list[AnyPanel]:
    by_llm = per_second(_REQUESTS, *_LLM, by="domain")
    everything = per_second(_REQUESTS, *_ALL, by="domain")
    return [
        series(
            "Requests by pool",
            "Requests that ended, by the pool that answered.",
            units.RequestsPerSecond,
            Query(per_second(_REQUESTS, *_ALL, by="pool"), "{{pool}}"),
        ),
        series(
            "Requests by status",
            "499: the client went away first.",
            units.RequestsPerSecond,
            Query(per_second(_REQUESTS, *_ALL, by="status"), "{{status}}"),
        ),
        series(
            "Escalation rate by domain",
            "Share of a domain's requests that the pool llm answered.",
            units.PercentUnit,
            Query(f"{by_llm} / {everything}", "{{domain}}"),
        ),
        series(
            "Refused and retried",
            "Refused: no admission (unknown key, wrong domain, over a limit), of all domains. "
            "Retried: sent again after a connection error.",
            units.RequestsPerSecond,
            Query(per_second(_REQUESTS, 'pool=""', by="status"), "refused {{status}}"),
            Query(per_second("router_retries_total", by="pool"), "retried {{pool}}"),
        ),
    ]


def _latency() -> list[AnyPanel]:
    return [
        series(
            title,
            description,
            units.Seconds,
            *(
                Query(quantile(share, histogram, by="pool"), f"{name} {{{{pool}}}}")
                for name, share in _SHARES.items()
            ),
        )
        for title, histogram, description in (
            ("Whole answer", "router_request_seconds", "Admission to the end of the response."),
            (
                "First byte",
                "router_time_to_first_byte_seconds",
                "Admission to the first byte of the answer; for streams this is the first token.",
            ),
        )
    ]


def _tokens() -> list[AnyPanel]:
    waiting = f"sum by (model_name) ({scoped('vllm:num_requests_waiting')})"
    return [
        series(
            "Tokens by kind",
            "cached_input: input tokens that the prefix cache held.",
            units.CountsPerSecond,
            Query(per_second("router_tokens_total", 'domain=~"$domain"', by="kind"), "{{kind}}"),
        ),
        series(
            "Tokens by domain",
            "Input, cached and output tokens together.",
            units.CountsPerSecond,
            Query(
                per_second("router_tokens_total", 'domain=~"$domain"', by="domain"), "{{domain}}"
            ),
        ),
        series(
            "Requests waiting in model servers",
            "Admitted by vLLM and not yet in a batch.",
            units.Short,
            Query(waiting, "{{model_name}}"),
        ),
        series(
            "Time in the queue of model servers",
            "95th percentile.",
            units.Seconds,
            Query(
                quantile(0.95, "vllm:request_queue_time_seconds", by="model_name"), "{{model_name}}"
            ),
        ),
    ]


def _rate(*matchers: str) -> str:
    return f"rate({scoped(_REQUESTS, *matchers)}[$__rate_interval])"
