"""Configuration of sampling and comparing: one file for both."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from registry.documents import Document
from registry.names import PoolName
from serving.settings import HttpUrl

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
"""Part of the names of samples."""


class VllmSource(Document):
    """The model servers of one or more pools.

    Every address that the host of `url` resolves to is one server: a headless Service names the
    pods of a pool.
    """

    kind: Literal["vllm"] = "vllm"
    name: SourceName
    url: HttpUrl
    """Without `/metrics`."""
    pools: tuple[PoolName, ...] = Field(min_length=1)
    """Every pool that they serve: their counters do not say which one a request was for."""
    max_model_len: int = Field(ge=1)
    """As the servers are started with; bounds what a request of unknown size can be."""


class BifrostSource(Document):
    """One provider of a Bifrost gateway, and the pools that are routed to it."""

    kind: Literal["bifrost"] = "bifrost"
    name: SourceName
    url: HttpUrl
    provider: str = Field(min_length=1)
    """Value of the label `provider`."""
    pools: tuple[PoolName, ...] = Field(min_length=1)
    max_model_len: int = Field(ge=1)


class AdapterSyncSource(Document):
    """Adapter-sync, for the probes that it sends to the servers of a source."""

    kind: Literal["adapter-sync"] = "adapter-sync"
    name: SourceName
    url: HttpUrl
    probes: SourceName
    """Name of the source whose servers it probes."""


class RouterSource(Document):
    """The routers, for the traces that they dropped."""

    kind: Literal["router"] = "router"
    name: SourceName
    url: HttpUrl


CounterSource = VllmSource | BifrostSource
AnySource = Annotated[
    VllmSource | BifrostSource | AdapterSyncSource | RouterSource, Field(discriminator="kind")
]


class LangfuseTraces(Document):
    """Traces in Langfuse, one query for each customer."""

    kind: Literal["langfuse"] = "langfuse"
    url: HttpUrl
    environment: str = Field(min_length=1)
    """As the routers' `tracing.environment`."""
    credentials: Path | None = None
    """File with `<public key>:<secret key>`; None: LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY."""


class MlflowTraces(Document):
    """Traces in MLflow."""

    kind: Literal["mlflow"] = "mlflow"
    url: HttpUrl
    experiment: str = Field(default="inference", min_length=1)
    """As the routers' `tracing.experiment`."""


AnyTraces = Annotated[LangfuseTraces | MlflowTraces, Field(discriminator="kind")]


class EvaluationTraffic(Document):
    """Evaluation jobs that ask the servers of a source, beside its customers."""

    registry_uri: str
    source: SourceName


class ReconciliationConfig(Document):
    """What is sampled, and what is compared with what."""

    warehouse_uri: str = Field(pattern=r"^(file:///|s3://)\S+$")
    sources: tuple[AnySource, ...] = Field(min_length=1)
    traces: AnyTraces | None = None
    evaluations: EvaluationTraffic | None = None
    interval_s: float = Field(default=60, gt=0)
    """Time between two samples: a restart hides at most what a server did in it."""
    timeout_s: float = Field(default=10, gt=0)
    request_timeout_s: float = Field(default=600, gt=0)
    """As the routers' `limits.request_timeout_s`: no request goes on for longer."""
    clock_margin_s: float = Field(default=0.5, ge=0)
    """By how much clocks of two machines may differ, a server's delay in counting included."""
    trace_delay_s: float = Field(default=600, ge=0)
    """How long a trace may take to arrive."""
    trace_retry_for_s: float = Field(default=300, ge=0)
    """As the routers' `tracing.retry_for_s`."""
    trace_timeout_s: float = Field(default=10, gt=0)
    """As the routers' `tracing.timeout_s`."""

    @property
    def counted(self) -> tuple[CounterSource, ...]:
        """Sources that count requests and tokens."""
        return tuple(s for s in self.sources if isinstance(s, VllmSource | BifrostSource))

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: the name of two sources")
        return self

    @model_validator(mode="after")
    def _probed_sources_are_known(self) -> Self:
        servers = {source.name for source in self.sources if isinstance(source, VllmSource)}
        asked = {
            f"sources.{source.name}.probes": source.probes
            for source in self.sources
            if isinstance(source, AdapterSyncSource)
        }
        if self.evaluations is not None:
            asked["evaluations.source"] = self.evaluations.source
        for place, name in asked.items():
            if name not in servers:
                known = ", ".join(sorted(servers)) or "none"
                raise ValueError(f"{place}: {name!r} is no vllm source; there are: {known}")
        return self
