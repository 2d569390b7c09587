"""Operators of a cluster: which charts they come from, their values, and their roles in AWS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_kubernetes as kubernetes

from components.charts import LockedChart, LockedChartArgs, PodSecurity
from components.role import RoleArgs
from components.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from stacks.config.nodes import GPU_TAINT
from stacks.operators import Operator
from stacks.programs.cluster import policies
from stacks.programs.cluster.aws import Eks
from stacks.programs.cluster.charts import Charts

_SYSTEM: Final = "kube-system"
MONITORING: Final = "monitoring"
"""Namespace of Prometheus and Grafana."""
_RETENTION_DAYS: Final = 30


@dataclass(frozen=True, kw_only=True)
class OperatorsArgs:
    """What is installed, and where."""

    provider: kubernetes.Provider
    installed: frozenset[Operator]
    there: frozenset[Operator]
    """Installed here, or present before."""
    charts: Charts
    eks: Eks | None
    """None on a cluster that exists already."""
    prefix: str
    tags: Mapping[str, str]
    secrets: Sequence[str]
    """ARNs in Secrets Manager that External Secrets may read."""
    databases: str
    """Pattern of the ARNs of databases whose passwords it may read."""


@dataclass(frozen=True, kw_only=True)
class _Chart:
    """One chart of an operator."""

    chart: str
    namespace: str
    security: PodSecurity | None
    """None in a namespace that is there."""
    values: Mapping[str, Any] = field(default_factory=dict)
    service_account: str | None = None
    statements: Sequence[Mapping[str, Any]] = ()
    """Of the role of that ServiceAccount in AWS."""
    after: tuple[str, ...] = ()
    """Charts whose kinds it uses."""


def declare_operators(args: OperatorsArgs) -> Mapping[str, pulumi.Resource]:
    """Declare the charts of operators.

    Returns:
        What must stand before their kinds are used, by chart.

    Raises:
        ValueError: A chart is not in the lock, or has no digest in production.
    """
    charts = [*_of_operators(args), *(_of_eks(args, args.eks) if args.eks else ())]
    args.charts.require([each.chart for each in charts])
    installed: dict[str, pulumi.Resource] = {}
    for chart in charts:
        before = [installed[name] for name in chart.after if name in installed]
        installed[chart.chart] = _declare(args, chart, before)
    return installed


def _declare(
    args: OperatorsArgs, chart: _Chart, before: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    needed = [*before, *(args.eks.aws.ready if args.eks else ())]
    if args.eks and chart.service_account and chart.statements:
        needed += _identity(args, args.eks, chart, chart.service_account).ready
    return LockedChart(
        chart.chart,
        LockedChartArgs(
            provider=args.provider,
            release=chart.chart,
            source=args.charts.source(chart.chart),
            namespace=chart.namespace,
            pod_security=chart.security,
            values=chart.values,
        ),
        pulumi.ResourceOptions(depends_on=needed),
    ).installed


def _identity(
    args: OperatorsArgs, eks: Eks, chart: _Chart, service_account: str
) -> WorkloadIdentity:
    return WorkloadIdentity(
        chart.chart,
        WorkloadIdentityArgs(
            role=RoleArgs(
                provider=eks.aws.provider,
                role=eks.account.role_name(chart.chart),
                path=eks.account.role_path(None),
                trust=eks.trust_of(chart.namespace, service_account),
                permissions=pulumi.Output.from_input([dict(each) for each in chart.statements]),
                tags=args.tags,
            ),
            cluster=eks.aws.cluster_name,
            namespace=chart.namespace,
            service_account=service_account,
        ),
    )


def _of_operators(args: OperatorsArgs) -> list[_Chart]:
    """Those that any cluster may need; what others use comes first."""
    by_operator: dict[Operator, tuple[_Chart, ...]] = {
        "prometheus": (_prometheus(),),
        "gpu": _gpu(monitored="prometheus" in args.there),
        "keda": (_Chart(chart="keda", namespace="keda", security="restricted"),),
        "external-secrets": (
            _Chart(
                chart="external-secrets",
                namespace="external-secrets",
                security="restricted",
                values={"installCRDs": True, "serviceAccount": {"name": "external-secrets"}},
                service_account="external-secrets",
                statements=policies.read_secrets(args.secrets, args.databases)
                if args.secrets
                else (),
            ),
        ),
        "gateway-api": (_Chart(chart="gateway-api", namespace=_SYSTEM, security=None),),
        "kgateway": (
            _Chart(
                chart="kgateway-crds",
                namespace="kgateway-system",
                security="baseline",
                after=("gateway-api",),
            ),
            _Chart(
                chart="kgateway",
                namespace="kgateway-system",
                security=None,
                after=("kgateway-crds",),
            ),
        ),
    }
    return [
        chart
        for operator, charts in by_operator.items()
        if operator in args.installed
        for chart in charts
    ]


def _gpu(*, monitored: bool) -> tuple[_Chart, ...]:
    tolerations = [{"key": GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}]
    return (
        _Chart(
            chart="nvidia-device-plugin",
            namespace="nvidia-device-plugin",
            security="privileged",
            # Node groups name the GPU themselves.
            values={"gfd": {"enabled": False}, "tolerations": tolerations},
        ),
        _Chart(
            chart="dcgm-exporter",
            namespace="dcgm-exporter",
            security="privileged",
            values={
                "nodeSelector": {"nvidia.com/gpu.present": "true"},
                "tolerations": tolerations,
                "serviceMonitor": {"enabled": monitored},
            },
            after=("kube-prometheus-stack",),
        ),
    )


def _prometheus() -> _Chart:
    everything = {
        f"{kind}SelectorNilUsesHelmValues": False
        for kind in ("podMonitor", "serviceMonitor", "rule", "probe", "scrapeConfig")
    }
    return _Chart(
        chart="kube-prometheus-stack",
        namespace=MONITORING,
        # The exporter of nodes reads the host.
        security="privileged",
        values={
            "prometheus": {
                "prometheusSpec": {
                    **everything,
                    "retention": f"{_RETENTION_DAYS}d",
                    "storageSpec": {
                        "volumeClaimTemplate": {
                            "spec": {"resources": {"requests": {"storage": "100Gi"}}}
                        }
                    },
                }
            },
            "grafana": {
                "sidecar": {"dashboards": {"enabled": True, "searchNamespace": "ALL"}},
                # Reached by port-forward alone; nobody has a password, so none is kept.
                "grafana.ini": {
                    "security": {"disable_initial_admin_creation": True},
                    "auth": {"disable_login_form": True},
                    "auth.anonymous": {"enabled": True, "org_role": "Viewer"},
                },
            },
            # EKS runs these where nobody can scrape them.
            "kubeControllerManager": {"enabled": False},
            "kubeScheduler": {"enabled": False},
            "kubeEtcd": {"enabled": False},
        },
    )


def _of_eks(args: OperatorsArgs, eks: Eks) -> list[_Chart]:
    """Those that a cluster in AWS needs whatever runs on it."""
    efa = _Chart(
        chart="aws-efa-k8s-device-plugin",
        namespace=_SYSTEM,
        security=None,
        values={"tolerations": [{"key": GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}]},
    )
    return [_autoscaler(eks, args.prefix), _load_balancers(eks, args.prefix)] + (
        [efa] if eks.has_efa else []
    )


def _autoscaler(eks: Eks, cluster: str) -> _Chart:
    return _Chart(
        chart="cluster-autoscaler",
        namespace=_SYSTEM,
        security=None,
        values={
            "cloudProvider": "aws",
            "awsRegion": eks.aws.region,
            # Named one by one: EKS tags the group of a block for discovery too.
            "autoscalingGroups": [
                {"name": group.name, "minSize": group.minimum, "maxSize": group.maximum}
                for group in eks.autoscaled
            ],
            "rbac": {"serviceAccount": {"name": "cluster-autoscaler"}},
            "extraArgs": {
                "expander": "least-waste",
                # Router and Prometheus keep their data on volumes, not on the node.
                "skip-nodes-with-local-storage": False,
                "skip-nodes-with-system-pods": False,
                "scale-down-unneeded-time": "10m",
            },
        },
        service_account="cluster-autoscaler",
        statements=policies.resize_groups(cluster),
    )


def _load_balancers(eks: Eks, cluster: str) -> _Chart:
    return _Chart(
        chart="aws-load-balancer-controller",
        namespace=_SYSTEM,
        security=None,
        values={
            "clusterName": eks.aws.cluster_name,
            "region": eks.aws.region,
            "vpcId": eks.aws.vpc_id,
            "serviceAccount": {"name": "aws-load-balancer-controller"},
        },
        service_account="aws-load-balancer-controller",
        statements=policies.balance_load(cluster),
    )
