"""The ClickHouse operator, and cert-manager, which makes the certificate of its webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import helm

from components.charts import ChartSource

NAMESPACE: Final = "clickhouse-operator"
_CERT_MANAGER: Final = "cert-manager"


@dataclass(frozen=True, kw_only=True)
class ClickHouseOperatorArgs:
    """From which charts."""

    provider: kubernetes.Provider
    operator: ChartSource
    cert_manager: ChartSource | None
    """None where the cluster has one."""


class ClickHouseOperator(pulumi.ComponentResource):
    """Releases: both charts have hooks, and webhooks that must answer before the next object."""

    ready: pulumi.Resource

    def __init__(
        self, name: str, args: ClickHouseOperatorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The charts.
            opts: Options of the component.
        """
        super().__init__("pipeline:services:ClickHouseOperator", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        before = []
        if args.cert_manager is not None:
            values = {"crds": {"enabled": True}}
            before.append(
                _release(f"{name}-{_CERT_MANAGER}", _CERT_MANAGER, args.cert_manager, values, child)
            )
        after = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=before))
        self.ready = _release(name, NAMESPACE, args.operator, {}, after)
        self.register_outputs({})


def _release(
    name: str,
    release: str,
    chart: ChartSource,
    values: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
) -> helm.v3.Release:
    return helm.v3.Release(
        name,
        name=release,
        namespace=release,
        create_namespace=True,
        chart=chart.chart,
        version=chart.version,
        repository_opts=helm.v3.RepositoryOptsArgs(repo=chart.repository),
        values=dict(values),
        cleanup_on_fail=True,
        opts=opts,
    )
