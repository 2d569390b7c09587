"""Grafana dashboards: one module each."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.adapters import adapters
from observability.dashboards.billing import billing
from observability.dashboards.customers import customers
from observability.dashboards.servers import servers
from observability.dashboards.traffic import traffic

__all__ = ["dashboards"]


def dashboards(currency: str) -> tuple[Dashboard, ...]:
    """Every dashboard; `uid` is its name everywhere. `currency` is the price table's."""
    return (traffic(), servers(), customers(currency), adapters(), billing())
