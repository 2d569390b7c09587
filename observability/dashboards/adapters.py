"""Adapter versions side by side, and what the evaluation gate said of them."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.panels import (
    AnyPanel,
    Column,
    Query,
    Row,
    board,
    rows_of,
    series,
)
from observability.promql import per_second, quantile, scoped

_DOMAIN = 'domain=~"$domain"'
_ALL = ('pool!=""', _DOMAIN)
_BY = "served_model, pool"
_LEGEND = "{{served_model}} {{pool}}"


def adapters() -> Dashboard:
    """For ML engineers and reviewers."""
    return board(
        "pipeline-adapters",
        "Pipeline / Adapter versions and gate",
        "Versions side by side in production, and their verdicts.",
        [
            Row("In production", _production()),
            Row("Latency by version (all domains)", _latency()),
            Row("Releases and gate", _gate()),
        ],
        "domain",
    )


def _production() -> list[AnyPanel]:
    requests = per_second("router_requests_total", *_ALL, by=_BY)
    failed = per_second("router_requests_total", 'status=~"5.."', *_ALL, by=_BY)
    gone = per_second("router_requests_total", 'status="499"', *_ALL, by=_BY)
    output = per_second("router_tokens_total", 'kind="output"', _DOMAIN, by=_BY)
    return [
        series(
            "Requests by version",
            "A release or an experiment shows as one version taking over from another.",
            units.RequestsPerSecond,
            Query(requests, _LEGEND),
        ),
        series(
            "Failing, by version",
            "Share that ended with a status of 500 or more.",
            units.PercentUnit,
            Query(f"{failed} / {requests}", _LEGEND),
        ),
        series(
            "Output tokens for each request, by version",
            "A version that rambles or falls silent shows here first.",
            units.Short,
            Query(f"{output} / {requests}", _LEGEND),
        ),
        series(
            "Clients that went away, by version",
            "Share of requests whose client left before the end.",
            units.PercentUnit,
            Query(f"{gone} / {requests}", _LEGEND),
        ),
    ]


def _latency() -> list[AnyPanel]:
    return [
        series(
            title,
            description,
            units.Seconds,
            Query(quantile(0.95, histogram, by=_BY), _LEGEND),
        )
        for title, histogram, description in (
            ("Whole answer", "router_request_seconds", "95th percentile."),
            (
                "First byte",
                "router_time_to_first_byte_seconds",
                "95th percentile; for streams this is the first token.",
            ),
        )
    ]


def _gate() -> list[AnyPanel]:
    check = "max by (domain, version, check, status)"
    judged = scoped("pipeline_gate_check_timestamp_seconds", _DOMAIN)
    score = scoped("pipeline_gate_check_score", _DOMAIN)
    threshold = scoped("pipeline_gate_check_threshold", _DOMAIN)
    live = scoped("pipeline_release_live_timestamp_seconds", _DOMAIN)
    held = scoped("pipeline_release_held", _DOMAIN)
    return [
        rows_of(
            "Gate results",
            "The newest evaluated version of each domain, and its live and previous release. Some "
            "checks have no score.",
            [
                Column(f"{check} ({judged}) * 1000", "judged", units.DateTimeFromNow),
                Column(f"{check} ({score})", "score", units.NoUnit),
                Column(f"{check} ({threshold})", "threshold", units.NoUnit),
            ],
        ),
        rows_of(
            "Live releases",
            "held is 1 where a rollback holds the release.",
            [
                Column(
                    f"max by (domain, version) ({live}) * 1000", "live since", units.DateTimeFromNow
                ),
                Column(f"max by (domain, version) ({held})", "held", units.NoUnit),
            ],
        ),
    ]
