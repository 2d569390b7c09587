"""How many servers a model pool has under load: a ScaledObject of KEDA."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import apiextensions

from components.pods import metadata

_POLL_S = 15


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One Prometheus query, and what its value means.

    A total that each server takes a share of is `AverageValue`: servers = total / threshold. A
    level that is the same for each, such as a share in use, is `Value`: servers = now x level /
    threshold. The other way round a trigger never fires, and nothing says so.
    """

    name: str
    query: str
    metric_type: Literal["AverageValue", "Value"]
    threshold: str
    missing_is_zero: bool
    """Without any series: 0, or an error that leaves the number of servers as it is."""


@dataclass(frozen=True, kw_only=True)
class PoolScalingArgs:
    """What is scaled, between which bounds, by what."""

    provider: kubernetes.Provider
    namespace: str
    workload: str
    """Name of the Deployment and of the ScaledObject."""
    minimum: int
    """0: the last server goes when no trigger is active."""
    maximum: int
    cooldown_s: int
    scale_down_after_s: int
    prometheus_url: str
    triggers: Sequence[Trigger]


class PoolScaling(pulumi.ComponentResource):
    """The ScaledObject."""

    def __init__(
        self, name: str, args: PoolScalingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The bounds and triggers.
            opts: Options of the component.
        """
        super().__init__("pipeline:serving:PoolScaling", name, {}, opts)
        apiextensions.CustomResource(
            name,
            api_version="keda.sh/v1alpha1",
            kind="ScaledObject",
            metadata=metadata(args.workload, args.namespace),
            spec=_spec(args),
            opts=pulumi.ResourceOptions(parent=self, provider=args.provider),
        )
        self.register_outputs({})


def _spec(args: PoolScalingArgs) -> dict[str, Any]:
    calm = {"stabilizationWindowSeconds": args.scale_down_after_s}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": args.workload},
        "minReplicaCount": args.minimum,
        "maxReplicaCount": args.maximum,
        "pollingInterval": _POLL_S,
        "cooldownPeriod": args.cooldown_s,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": calm}}},
        "triggers": [_trigger(args.prometheus_url, each) for each in args.triggers],
    }


def _trigger(prometheus_url: str, trigger: Trigger) -> dict[str, Any]:
    return {
        "type": "prometheus",
        "name": trigger.name,
        "metricType": trigger.metric_type,
        "metadata": {
            "serverAddress": prometheus_url,
            "query": trigger.query,
            "threshold": trigger.threshold,
            "ignoreNullValues": "true" if trigger.missing_is_zero else "false",
        },
    }
