"""The model servers of a pool, as `<pool>.json` says: cluster-watch writes it, the router reads."""

from typing import Self

from pydantic import Field, model_validator

from registry.documents import Document
from serving.settings import HttpUrl


class ServerAddress(Document):
    """One model server."""

    pod: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    """Name of its pod. A report of another pod is not of this server: addresses are used again."""
    base_url: HttpUrl
    """The inference endpoint, without `/v1`."""
    adapter_sync_url: HttpUrl
    """Where the pod reports which adapters it holds."""


class PoolServers(Document):
    """The servers that a pool has now; none when it is scaled to zero."""

    servers: tuple[ServerAddress, ...]

    @model_validator(mode="after")
    def _pods_are_distinct(self) -> Self:
        names = [server.pod for server in self.servers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"pod {name!r} is named twice")
        return self
