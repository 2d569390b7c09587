"""Configuration of the router process."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from registry.documents import Document
from registry.names import ModelName, PoolName, parse_served_name
from serving.pool_servers import ServerAddress
from serving.settings import HttpUrl, Listen
from serving.tracing.config import SecretSource, TracingConfig


class Via(Document):
    """A gateway between the router and the servers of a pool, such as Bifrost."""

    url: HttpUrl
    """Its endpoint, without `/v1`."""
    provider: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """What the gateway knows the pool by: `model` is sent as `<provider>/<served model>`."""
    key: SecretSource | None = None
    """The router's own key for the gateway, sent as a bearer token."""
    customer_keys: dict[str, SecretSource] = Field(default_factory=dict)
    """Keys for the requests of customers that have limits of their own there; others use `key`."""


class PoolConfig(Document):
    """One pool of model servers."""

    servers: tuple[ServerAddress, ...] = ()
    """Its model servers, where they never change; else `servers_dir` names them."""
    via: Via | None = None
    """A gateway that chooses among the servers; without one the router chooses."""
    served_base: ModelName
    """Name under which the pool serves its base model."""
    aliases: tuple[ModelName, ...] = Field(min_length=1)
    """Model names by which clients mean this pool; the first is the one that errors name."""
    quorum: int = Field(default=1, ge=1)
    """How many servers must hold a release before the alias moves to it. Behind a gateway every
    server must: the router cannot keep a request from those that do not."""


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
    max_waiting: int = Field(default=0, ge=0)
    """Requests that may wait for a server that holds their release; more are refused at once."""
    longest_wait_s: float = Field(default=60, gt=0)
    """How long such a request waits."""


class BreakerLimits(Document):
    """When a server that fails gets no more requests for a while."""

    failures: int = Field(default=5, ge=1)
    """Connection errors in a row, or failed answers (5xx) of one model in a row."""
    open_s: float = Field(default=5, gt=0)
    """How long until one request tries the server again."""


class RouterConfig(Document):
    """Everything the router needs; paths are absolute."""

    listen: Listen
    pools: dict[PoolName, PoolConfig] = Field(min_length=1)
    servers_dir: Path | None = None
    """Folder of `<pool>.json` (`serving.pool_servers.PoolServers`), read again when it changes."""
    domains_dir: Path
    registry_uri: str
    evaluation_public_key: Path
    ledger_dir: Path
    tracing: TracingConfig | None = None
    limits: Limits = Limits()
    breaker: BreakerLimits = BreakerLimits()
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
        paths = (self.servers_dir, self.domains_dir, self.evaluation_public_key, self.ledger_dir)
        for path in paths:
            if path is not None and not path.is_absolute():
                raise ValueError(f"path {str(path)!r} is not absolute")
        return self

    @model_validator(mode="after")
    def _servers_are_named_once(self) -> Self:
        for pool, config in self.pools.items():
            if bool(config.servers) == (self.servers_dir is not None):
                raise ValueError(
                    f"pool {pool}: name its servers in `servers`, or the folder that names those "
                    "of every pool in `servers_dir`"
                )
        return self
