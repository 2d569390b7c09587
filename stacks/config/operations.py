"""Configuration of billing, metrics and reports."""

from typing import Annotated

from pydantic import Field, StringConstraints

from stacks.config.base import Config

Label = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
ProjectPath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"),
]
"""A file of the project, without `..`."""


class PrometheusConfig(Config):
    """The Prometheus operator of the cluster, and the Grafana beside it."""

    namespace: Label = Field("monitoring", description="of Prometheus and Grafana")
    pod_labels: dict[str, Label] = Field(
        default={"app.kubernetes.io/name": "prometheus"},
        min_length=1,
        description="labels of the pods that scrape",
    )
    selector_labels: dict[str, Label] = Field(
        default={"release": "prometheus"},
        description="labels that it selects PodMonitors and PrometheusRules by",
    )
    url: Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]+(:\d{1,5})?$")] = Field(
        "http://prometheus-operated.monitoring.svc:9090", description="where KEDA asks it"
    )


class OperationsConfig(Config):
    """Day parts, the close of months, reconciliation, pod reports, metrics."""

    prices: ProjectPath = Field(
        "stacks/prices.yaml", description="price table, relative to the project"
    )
    gpu_weights: ProjectPath | None = Field(
        None, description="calibrated GPU weights (JSON); None: uncalibrated ones"
    )
    sample_interval_s: int = Field(
        60, ge=10, le=600, description="time between two samples of the servers' counters"
    )
    report_interval_s: int = Field(
        30, ge=5, le=300, description="time between two reports of model pods"
    )
    metrics_interval_s: int = Field(
        60, ge=10, le=600, description="how often the exporter reads registry and warehouse"
    )
    prometheus: PrometheusConfig = Field(
        PrometheusConfig(), description="used when the operator prometheus is there"
    )
