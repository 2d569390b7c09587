"""Tokens and estimated cost of each customer."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.panels import (
    AnyPanel,
    Column,
    Query,
    Row,
    board,
    note,
    rows_of,
    series,
)
from observability.promql import per_second, scoped
from observability.recording import TOKEN_COST, TOKEN_PRICE

_CUSTOMER = 'customer=~"$customer"'

_ESTIMATE = """**Costs here are estimates**: tokens that the routers counted, times today's prices.
GPU time, fees, minimums, free tiers, credit notes and tokens that a cascade threw away are not in
them, and a router that was not scraped is missing. What a customer owes is the invoice of
`pipeline bill`, made from the ledger."""


def customers(currency: str) -> Dashboard:
    """For product and finance: who uses what, and about what it costs."""
    money = f"currency:{currency}"
    return board(
        "pipeline-customers",
        "Pipeline / Customers: tokens and estimated cost",
        "Use by customer, and what it costs by today's token prices. Not an invoice.",
        [
            Row("What these numbers are", [note(_ESTIMATE)]),
            Row("Chosen time range", [_table(money)]),
            Row("Over time", _over_time(money)),
        ],
        "customer",
    )


def _table(money: str) -> AnyPanel:
    requests = _sum(_increase("router_requests_total", 'pool!=""'))
    by_llm = _sum(_increase("router_requests_total", 'pool="llm"'))
    tokens = {
        kind: _sum(_increase("router_tokens_total", f'kind="{kind}"'))
        for kind in ("input", "cached_input", "output")
    }
    price = f"on (pool, kind) group_left () {TOKEN_PRICE}"
    return rows_of(
        "By customer",
        "Sums over the time range of the dashboard, by the counters of the routers.",
        [
            Column(requests, "requests", units.Short),
            Column(f"{by_llm} / {requests}", "answered by llm", units.PercentUnit),
            *(Column(expr, f"{kind} tokens", units.Short) for kind, expr in tokens.items()),
            Column(_sum(f"{_increase('router_tokens_total')} * {price}"), "estimated cost", money),
        ],
    )


def _over_time(money: str) -> list[AnyPanel]:
    hourly = f"({scoped(TOKEN_COST, _CUSTOMER)}) * 3600"
    requests = per_second("router_requests_total", _CUSTOMER, 'pool!=""', by="customer")
    by_llm = per_second("router_requests_total", _CUSTOMER, 'pool="llm"', by="customer")
    tokens = per_second("router_tokens_total", _CUSTOMER, by="customer")
    return [
        series(
            "Estimated cost per hour, by customer",
            "Tokens of the last five minutes by today's prices, for an hour.",
            money,
            Query(_sum(hourly), "{{customer}}"),
        ),
        series(
            "Estimated cost per hour, by pool",
            "The same, by the pool that answered.",
            money,
            Query(f"sum by (pool) ({hourly})", "{{pool}}"),
        ),
        series(
            "Tokens by customer",
            "Input, cached and output tokens together.",
            units.CountsPerSecond,
            Query(tokens, "{{customer}}"),
        ),
        series(
            "Escalation rate by customer",
            "Share of a customer's requests that the pool llm answered.",
            units.PercentUnit,
            Query(f"{by_llm} / {requests}", "{{customer}}"),
        ),
    ]


def _increase(counter: str, *matchers: str) -> str:
    return f"increase({scoped(counter, _CUSTOMER, *matchers)}[$__range])"


def _sum(expr: str) -> str:
    return f"sum by (customer) ({expr})"
