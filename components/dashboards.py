"""Dashboards for Grafana's sidecar and rules for the Prometheus operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta

from components.pods import labels_of

_NAME = "pipeline-dashboards"
_SIDECAR_LABEL = {"grafana_dashboard": "1"}
"""What the dashboard sidecar of the Grafana chart looks for by default."""


@dataclass(frozen=True, kw_only=True)
class DashboardsArgs:
    """What to show and what to watch; `observability.export` makes both."""

    provider: kubernetes.Provider
    namespace: str
    dashboards: Mapping[str, str]
    """JSON of each dashboard by its uid."""
    rules: Mapping[str, Any]
    """Content of a Prometheus rule file."""
    rule_labels: Mapping[str, str]
    """Labels that the Prometheus of the cluster selects rules by."""


class Dashboards(pulumi.ComponentResource):
    """A ConfigMap for each dashboard, and one PrometheusRule."""

    config_maps: dict[str, core.v1.ConfigMap]
    """By uid of the dashboard."""
    rules: kubernetes.apiextensions.CustomResource

    def __init__(
        self, name: str, args: DashboardsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: Dashboards and rules.
            opts: Options of the component.
        """
        super().__init__("pipeline:observability:Dashboards", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.config_maps = {
            uid: core.v1.ConfigMap(
                f"{name}-{uid}",
                metadata=meta.v1.ObjectMetaArgs(
                    name=uid,
                    namespace=args.namespace,
                    labels={**labels_of(_NAME), **_SIDECAR_LABEL},
                ),
                data={f"{uid}.json": text},
                opts=child,
            )
            for uid, text in args.dashboards.items()
        }
        self.rules = kubernetes.apiextensions.CustomResource(
            f"{name}-rules",
            api_version="monitoring.coreos.com/v1",
            kind="PrometheusRule",
            metadata=meta.v1.ObjectMetaArgs(
                name="pipeline",
                namespace=args.namespace,
                labels={**labels_of(_NAME), **args.rule_labels},
            ),
            spec=dict(args.rules),
            opts=child,
        )
        self.register_outputs({"dashboards": sorted(self.config_maps)})
