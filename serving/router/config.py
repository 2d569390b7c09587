"""Configuration of the router process."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from registry.documents import Document
from registry.names import ModelName, PoolName, parse_served_name
from serving.settings import HttpUrl, Listen
from serving.tracing.config import TracingConfig


class PoolConfig(Document):
    """One pool of model servers."""

    base_url: HttpUrl
    """The inference endpoint, without `/v1`."""
    adapter_sync_url: HttpUrl
    """Where the pool reports which adapters it holds."""
    served_base: ModelName
    """Name under which the pool serves its base model."""
    aliases: tuple[ModelName, ...] = Field(min_length=1)
    """Model names by which clients mean this pool; the first is the one that errors name."""
    quorum: int = Field(default=1, ge=1)
    """How many servers must hold a release before the alias moves to it."""


class Limits(Document):
    """What one router accepts."""

    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1)
    max_in_flight: int = Field(default=256, ge=1)
    max_in_flight_per_domain: int = Field(default=64, ge=1)
    retry_after_s: int = Field(default=1, ge=1)
    body_timeout_s: float = Field(default=30, gt=0)
    request_timeout_s: float = Field(default=600, gt=0)
    connect_timeout_s: float = Field(default=5, gt=0)
    drain_delay_s: float = Field(default=0, ge=0)
    """Time between reporting not ready and closing the port, for load balancers to notice."""
    drain_timeout_s: float = Field(default=30, gt=0)


class RouterConfig(Document):
    """Everything the router needs; paths are absolute."""

    listen: Listen
    pools: dict[PoolName, PoolConfig] = Field(min_length=1)
    domains_dir: Path
    registry_uri: str
    evaluation_public_key: Path
    ledger_dir: Path
    tracing: TracingConfig | None = None
    limits: Limits = Limits()
    poll_interval_s: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _aliases_mean_one_pool(self) -> Self:
        seen: dict[str, str] = {}
        for pool, config in self.pools.items():
            for alias in config.aliases:
                if alias in seen:
                    raise ValueError(f"alias {alias!r} is of both pool {seen[alias]} and {pool}")
                if parse_served_name(alias) is not None:
                    raise ValueError(f"alias {alias!r} looks like the served name of a release")
                seen[alias] = pool
        return self

    @model_validator(mode="after")
    def _paths_are_absolute(self) -> Self:
        for path in (self.domains_dir, self.evaluation_public_key, self.ledger_dir):
            if not path.is_absolute():
                raise ValueError(f"path {str(path)!r} is not absolute")
        return self
