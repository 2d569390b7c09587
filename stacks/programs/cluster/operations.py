"""Billing, reconciliation, reports of pods and metrics of an environment on Kubernetes.

None of it knows which domains there are: the jobs find them in the registry and the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi

from components.background_service import BackgroundService, BackgroundServiceArgs, Scraping
from components.billing_jobs import PRICES_FILE, BillingJobs, BillingJobsArgs
from components.dashboards import Dashboards, DashboardsArgs
from components.pod_reporter import PodReporter, PodReporterArgs
from components.pods import NAME_LABEL, Peer, PodPeer, Resources
from observability import export
from registry import documents
from registry.errors import RegistryError
from registry.names import PoolName
from serving.billing.config import BillingConfig
from serving.billing.errors import BillingError
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights
from serving.billing.prices import PriceTable, read_prices
from serving.exporter.config import ExporterConfig
from serving.pod_reports.config import PodReportsConfig
from serving.reconciliation.config import (
    AdapterSyncSource,
    AnySource,
    ReconciliationConfig,
    RouterSource,
    VllmSource,
)
from serving.settings import Listen
from stacks.config.load import ConfigError
from stacks.config.operations import OperationsConfig, PrometheusConfig
from stacks.paths import ROOT
from stacks.programs.cluster.context import OPERATIONS, SERVING, Cluster, Workload
from stacks.programs.cluster.traces import TraceReceiver

Bind = Callable[[Workload, str, str], Sequence[pulumi.Resource]]
"""As in `stacks.programs.cluster.services`."""

SAMPLER: Final = {NAME_LABEL: "pipeline-sampler"}
"""Labels of the pod that asks model servers, adapter-sync and routers for their counters."""
_EXPORTER: Final = "pipeline-exporter"
_REPORTER: Final = "pipeline-pod-reports"
_JOBS: Final[Mapping[str, Workload]] = {
    "billing-parts": "billing",
    "billing-close": "billing",
    # It reads what a receiver of traces answers, and needs to write nothing.
    "billing-reconciliation": "reconciliation",
}
_METRICS_PORT: Final = 9300
_SMALL: Final = Resources(cpu="50m", memory="256Mi", scratch="64Mi")


@dataclass(frozen=True, kw_only=True)
class CountedPool:
    """The model servers of a pool, as the sampler asks them."""

    headless_service: str
    pods: Mapping[str, str]
    """Labels of its pods."""
    metrics_port: int
    adapter_sync_port: int | None
    """None where the pool takes no adapters."""
    max_model_len: int


@dataclass(frozen=True, kw_only=True)
class CountedRouter:
    """The routers, as the sampler asks them."""

    headless_service: str
    pods: Mapping[str, str]
    """Labels of their pods."""
    port: int


@dataclass(frozen=True, kw_only=True)
class OperationsWiring:
    """What is billed, compared and reported, and where it lies."""

    registry_uri: str
    warehouse_uri: str
    pools: Mapping[PoolName, CountedPool]
    router: CountedRouter
    request_timeout_s: float
    """As the routers'."""
    traces: TraceReceiver
    bind: Bind
    """Gives pods their roles."""
    after: Sequence[pulumi.Resource]
    """What must stand before any object: namespaces, secrets, the Prometheus operator."""


def declare_operations(
    config: OperationsConfig, cluster: Cluster, wiring: OperationsWiring
) -> None:
    """Declare every job and service beside the request path.

    Raises:
        ConfigError: The price table or the weights cannot be read.
    """
    prices = read_price_table(config)
    compared = reconciliation(config, wiring)
    _declare_billing(config, cluster, wiring, compared)
    _declare_sampler(cluster, wiring, compared)
    _declare_reporter(config, cluster, wiring)
    if "prometheus" in cluster.operators:
        _declare_exporter(config, cluster, wiring)
        _declare_dashboards(config.prometheus, cluster, prices, wiring.after)


def reconciliation(config: OperationsConfig, wiring: OperationsWiring) -> ReconciliationConfig:
    """What is sampled and compared: every pool, its adapter-sync, the routers, the traces."""
    sources: list[AnySource] = []
    for name, pool in wiring.pools.items():
        sources.append(
            VllmSource(
                name=name,
                url=_url(pool.headless_service, pool.metrics_port),
                pools=(name,),
                max_model_len=pool.max_model_len,
            )
        )
        if pool.adapter_sync_port is not None:
            sources.append(
                AdapterSyncSource(
                    name=f"{name}-adapter-sync",
                    url=_url(pool.headless_service, pool.adapter_sync_port),
                    probes=name,
                )
            )
    router = wiring.router
    sources.append(RouterSource(name="router", url=_url(router.headless_service, router.port)))
    tracing = wiring.traces.tracing
    return ReconciliationConfig(
        warehouse_uri=wiring.warehouse_uri,
        sources=tuple(sources),
        traces=wiring.traces.compared,
        interval_s=config.sample_interval_s,
        request_timeout_s=wiring.request_timeout_s,
        trace_retry_for_s=tracing.retry_for_s,
        trace_timeout_s=tracing.timeout_s,
    )


def _url(service: str, port: int) -> str:
    return f"http://{service}.{SERVING}.svc:{port}"


def read_price_table(config: OperationsConfig) -> PriceTable:
    """What customers pay.

    Raises:
        ConfigError: The table cannot be read.
    """
    try:
        return read_prices(ROOT / config.prices)
    except BillingError as error:
        raise ConfigError(f"operations.prices: {error}") from error


def _weights(path: str | None) -> GpuWeights:
    if path is None:
        return UNCALIBRATED
    try:
        return documents.decode((ROOT / path).read_bytes(), GpuWeights, path)
    except (OSError, RegistryError) as error:
        raise ConfigError(f"operations.gpu_weights: {error}") from error


def _declare_billing(
    config: OperationsConfig,
    cluster: Cluster,
    wiring: OperationsWiring,
    compared: ReconciliationConfig,
) -> None:
    billing = BillingConfig(
        environment=cluster.environment,
        warehouse_uri=wiring.warehouse_uri,
        registry_uri=wiring.registry_uri,
        prices=Path(PRICES_FILE),
        weights=_weights(config.gpu_weights),
    )
    roles = [
        role for job, workload in _JOBS.items() for role in wiring.bind(workload, OPERATIONS, job)
    ]
    BillingJobs(
        # Alerts know the jobs by names that begin with this one.
        "billing",
        BillingJobsArgs(
            provider=cluster.kubernetes,
            namespace=OPERATIONS,
            image=cluster.images.infra,
            billing=billing.model_dump_json(),
            prices=(ROOT / config.prices).read_text(encoding="utf-8"),
            reconciliation=compared.model_dump_json(),
            object_store=cluster.object_store,
            traces=wiring.traces.peers,
            trace_credentials=wiring.traces.reading,
        ),
        pulumi.ResourceOptions(depends_on=[*wiring.after, *roles]),
    )


def _declare_sampler(
    cluster: Cluster, wiring: OperationsWiring, compared: ReconciliationConfig
) -> None:
    service = SAMPLER[NAME_LABEL]
    peers: list[Peer] = [
        PodPeer(namespace=SERVING, labels=wiring.router.pods, port=wiring.router.port)
    ]
    for pool in wiring.pools.values():
        ports = [pool.metrics_port]
        ports += [] if pool.adapter_sync_port is None else [pool.adapter_sync_port]
        peers += [PodPeer(namespace=SERVING, labels=pool.pods, port=port) for port in ports]
    _background(
        _Background(
            service=service,
            workload="sampler",
            module="serving.reconciliation.sample",
            config=compared.model_dump_json(),
            egress=peers,
        ),
        cluster,
        wiring,
    )


def _declare_exporter(config: OperationsConfig, cluster: Cluster, wiring: OperationsWiring) -> None:
    exporter = ExporterConfig(
        listen=Listen(host="0.0.0.0", port=_METRICS_PORT),  # noqa: S104  its policy says who asks
        registry_uri=wiring.registry_uri,
        warehouse_uri=wiring.warehouse_uri,
        interval_s=config.metrics_interval_s,
    )
    _background(
        _Background(
            service=_EXPORTER,
            workload="exporter",
            module="serving.exporter",
            config=exporter.model_dump_json(),
            scraping=scraping(config.prometheus, _METRICS_PORT),
        ),
        cluster,
        wiring,
    )


def scraping(prometheus: PrometheusConfig, port: int) -> Scraping:
    """How the Prometheus of the cluster reaches a port."""
    return Scraping(
        prometheus=PodPeer(namespace=prometheus.namespace, labels=prometheus.pod_labels, port=port),
        monitor_labels=prometheus.selector_labels,
    )


@dataclass(frozen=True, kw_only=True)
class _Background:
    service: str
    workload: Workload
    module: str
    config: str
    egress: Sequence[Peer] = ()
    scraping: Scraping | None = None


def _background(what: _Background, cluster: Cluster, wiring: OperationsWiring) -> None:
    roles = wiring.bind(what.workload, OPERATIONS, what.service)
    BackgroundService(
        f"{cluster.environment}-{what.service}",
        BackgroundServiceArgs(
            provider=cluster.kubernetes,
            namespace=OPERATIONS,
            service=what.service,
            image=cluster.images.serving,
            module=what.module,
            config=what.config,
            resources=_SMALL,
            egress=what.egress,
            object_store=cluster.object_store,
            scraping=what.scraping,
        ),
        pulumi.ResourceOptions(depends_on=[*wiring.after, *roles]),
    )


def _declare_reporter(config: OperationsConfig, cluster: Cluster, wiring: OperationsWiring) -> None:
    roles = wiring.bind("pod-reports", OPERATIONS, _REPORTER)
    PodReporter(
        f"{cluster.environment}-pod-reports",
        PodReporterArgs(
            provider=cluster.kubernetes,
            namespace=OPERATIONS,
            image=cluster.images.serving,
            config=PodReportsConfig(
                warehouse_uri=wiring.warehouse_uri,
                namespace=SERVING,
                source=f"{cluster.environment}-{SERVING}",
                interval_s=config.report_interval_s,
            ),
            egress=cluster.api_peers,
            object_store=cluster.object_store,
        ),
        pulumi.ResourceOptions(depends_on=[*wiring.after, *roles]),
    )


def _declare_dashboards(
    prometheus: PrometheusConfig,
    cluster: Cluster,
    prices: PriceTable,
    after: Sequence[pulumi.Resource],
) -> None:
    Dashboards(
        f"{cluster.environment}-dashboards",
        DashboardsArgs(
            provider=cluster.kubernetes,
            # Beside Grafana, whose sidecar looks into its own namespace.
            namespace=prometheus.namespace,
            dashboards=export.dashboard_texts(prices.currency),
            rules=export.rules(prices),
            rule_labels=prometheus.selector_labels,
        ),
        pulumi.ResourceOptions(depends_on=list(after)),
    )
