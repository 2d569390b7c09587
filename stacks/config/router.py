"""Configuration of the router of an environment on Kubernetes."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from registry.names import PoolName
from stacks.config.base import Config
from stacks.config.pools import ModelPool

_PROCESS_MIB = 256
_COPIES = 2
"""A body is held as it came and as it is forwarded."""
_SHIPPING_S = 60
"""What the shipper may take after the router has ended."""

StorageClass = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class LedgerVolume(Config):
    """The volume that each router keeps its ledger on."""

    size_gib: int = Field(
        20, ge=1, le=16384, description="GiB; a request takes about 1 KiB of it for good"
    )
    storage_class: StorageClass | None = Field(
        None, description="StorageClass of the volume; default: the cluster's default class"
    )


class RouterLimits(Config):
    """What one router pod accepts; another pod accepts as much again."""

    max_body_mib: int = Field(2, ge=1, le=64, description="largest request body, MiB")
    max_in_flight: int = Field(256, ge=1, le=4096, description="requests served at once")
    max_in_flight_per_domain: int = Field(
        64, ge=1, description="requests of one domain served at once"
    )
    longest_answer_s: int = Field(
        600, ge=10, le=7200, description="time limit of an answer, streamed ones included"
    )
    max_waiting: int = Field(
        64, ge=0, description="requests that may wait for a pool without a server; 0: none waits"
    )
    longest_wait_s: int = Field(
        300, ge=1, le=1800, description="how long such a request waits; then 503 with Retry-After"
    )

    @model_validator(mode="after")
    def _domains_and_waiting_are_parts(self) -> Self:
        if self.max_in_flight_per_domain > self.max_in_flight:
            raise ValueError(
                f"max_in_flight_per_domain is {self.max_in_flight_per_domain}, at most "
                f"max_in_flight ({self.max_in_flight}) can be used: lower it"
            )
        if self.max_waiting >= self.max_in_flight:
            raise ValueError(
                f"max_waiting is {self.max_waiting}: requests that wait are in flight, so it must "
                f"be below max_in_flight ({self.max_in_flight}), or one cold pool stops the others"
            )
        return self


class RouterOptions(Config):
    """The router: authorisation, release map, metering."""

    replicas: int = Field(2, ge=1, le=32, description="router pods; each has a ledger of its own")
    cpu: Annotated[str, StringConstraints(pattern=r"^([1-9]\d*m|[1-9]\d*)$")] = Field(
        "500m", description="CPU request of a router"
    )
    memory_mib: int = Field(2048, ge=256, description="memory request and limit of a router, MiB")
    ledger: LedgerVolume = LedgerVolume()
    limits: RouterLimits = RouterLimits()
    drain_delay_s: int = Field(
        10, ge=0, le=120, description="time for the gateway to notice that a pod goes, seconds"
    )

    @model_validator(mode="after")
    def _bodies_fit_in_memory(self) -> Self:
        limits = self.limits
        needed = _PROCESS_MIB + _COPIES * limits.max_in_flight * limits.max_body_mib
        if self.memory_mib < needed:
            raise ValueError(
                f"memory_mib is {self.memory_mib}: {_PROCESS_MIB} MiB for the process and "
                f"{_COPIES} x {limits.max_in_flight} bodies of {limits.max_body_mib} MiB need "
                f"{needed}: raise it, or lower limits.max_in_flight or limits.max_body_mib"
            )
        return self

    @property
    def termination_s(self) -> int:
        """Time that a router pod has to end: its longest answer, and shipping what it recorded."""
        return self.drain_delay_s + self.limits.longest_answer_s + _SHIPPING_S


def refuse_pools_that_nobody_wakes(
    pools: Mapping[PoolName, ModelPool], limits: RouterLimits
) -> None:
    """Check that requests may wait for a pool that is scaled to zero: they are what wakes it.

    Raises:
        ValueError: None may.
    """
    for pool, config in pools.items():
        if config.scale_to_zero and limits.max_waiting == 0:
            raise ValueError(
                f"pools.{pool}.scale_to_zero: nothing would wake it, because "
                "router.limits.max_waiting is 0: allow some requests to wait, or keep a server"
            )
