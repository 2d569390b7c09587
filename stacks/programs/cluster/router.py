"""The router of an environment on Kubernetes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pulumi

from components.background_service import Scraping
from components.pods import Peer, PodPeer, Resources, SecretKey
from components.router import SERVICE, RouterArgs, RouterService
from components.router_pod import (
    DOMAINS,
    EVALUATION_KEY,
    HTTP_PORT,
    LEDGER,
    SERVERS,
    WATCH_PORT,
)
from registry.names import PoolName
from serving.cluster_watch.config import ClusterWatchConfig
from serving.ledger.shipping.config import ShipperConfig
from serving.router.config import Limits, PoolConfig, RouterConfig, Via
from serving.settings import Listen
from serving.tracing.config import SecretSource, TracingConfig
from stacks.config.router import RouterLimits, RouterOptions
from stacks.programs.cluster.context import SERVING, Cluster

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  inside a pod, behind its NetworkPolicy
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class RoutedPool:
    """A model pool as the router sees it."""

    served_base: str
    aliases: tuple[str, ...]
    """Model names by which clients mean it; the first is the one that errors name."""
    quorum: int
    """How many servers must hold a release before requests go to it."""
    headless_service: str
    pods: Mapping[str, str]
    """Labels of its pods."""
    http_port: int
    adapter_sync_port: int
    via: Via | None = None
    """The gateway before it, or None."""


@dataclass(frozen=True, kw_only=True)
class RouterWiring:
    """What is around the router."""

    pools: Mapping[PoolName, RoutedPool]
    registry_uri: str
    warehouse_uri: str
    evaluation_public_key: pulumi.Input[str]
    """PEM."""
    gateway: Sequence[PodPeer]
    """The pods that requests come from."""
    samplers: Sequence[PodPeer] = ()
    """Pods that read its counters."""
    tracing: TracingConfig | None = None
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """Environment variables that `tracing`, the pools' gateways and `customer_keys` name."""
    customer_keys: Mapping[str, str] = field(default_factory=dict)
    """Variable with the gateway's key for each customer that has limits of its own there."""
    egress: Sequence[Peer] = ()
    """The receiver of traces, and the gateway before the pools."""
    scraping: Scraping
    """How Prometheus reaches the routers, where there is one."""


@dataclass(frozen=True, kw_only=True)
class RouterEndpoint:
    """What others need of the router."""

    service: str
    port: int


def declare_router(config: RouterOptions, cluster: Cluster, wiring: RouterWiring) -> RouterEndpoint:
    """Declare the router of an environment."""
    RouterService(
        f"{cluster.environment}-router",
        RouterArgs(
            provider=cluster.kubernetes,
            namespace=SERVING,
            image=cluster.images.serving,
            replicas=config.replicas,
            router=_router(config, wiring).model_dump_json(),
            cluster_watch=_cluster_watch(wiring).model_dump_json(),
            shipper=_shipper(wiring),
            evaluation_public_key=wiring.evaluation_public_key,
            resources=Resources(cpu=config.cpu, memory=f"{config.memory_mib}Mi", scratch="256Mi"),
            ledger_gib=config.ledger.size_gib,
            storage_class=config.ledger.storage_class,
            termination_s=config.termination_s,
            object_store=cluster.object_store,
            clients=wiring.gateway,
            egress=_egress(cluster, wiring),
            samplers=wiring.samplers,
            secrets=dict(wiring.secrets),
            scraping=wiring.scraping if "prometheus" in cluster.operators else None,
        ),
    )
    return RouterEndpoint(service=SERVICE, port=HTTP_PORT)


def _router(config: RouterOptions, wiring: RouterWiring) -> RouterConfig:
    return RouterConfig(
        listen=Listen(host=_EVERYWHERE, port=HTTP_PORT),
        pools={
            name: PoolConfig(
                served_base=pool.served_base,
                aliases=pool.aliases,
                quorum=pool.quorum,
                via=_via(pool.via, wiring.customer_keys),
            )
            for name, pool in wiring.pools.items()
        },
        servers_dir=Path(SERVERS),
        domains_dir=Path(DOMAINS),
        registry_uri=wiring.registry_uri,
        evaluation_public_key=Path(EVALUATION_KEY),
        ledger_dir=Path(LEDGER),
        tracing=wiring.tracing,
        limits=_limits(config.limits, config.drain_delay_s),
    )


def _via(via: Via | None, customer_keys: Mapping[str, str]) -> Via | None:
    if via is None:
        return None
    keys = {customer: SecretSource(env=name) for customer, name in customer_keys.items()}
    return via.model_copy(update={"customer_keys": keys})


def _limits(limits: RouterLimits, drain_delay_s: int) -> Limits:
    return Limits(
        max_body_bytes=limits.max_body_mib * _MIB,
        max_in_flight=limits.max_in_flight,
        max_in_flight_per_domain=limits.max_in_flight_per_domain,
        request_timeout_s=limits.longest_answer_s,
        drain_delay_s=drain_delay_s,
        # What began before the end may take as long as any answer.
        drain_timeout_s=limits.longest_answer_s,
        max_waiting=limits.max_waiting,
        longest_wait_s=limits.longest_wait_s,
    )


def _cluster_watch(wiring: RouterWiring) -> ClusterWatchConfig:
    return ClusterWatchConfig(
        namespace=SERVING,
        pools={name: pool.headless_service for name, pool in wiring.pools.items()},
        domains_dir=Path(DOMAINS),
        pools_dir=Path(SERVERS),
        listen=Listen(host=_EVERYWHERE, port=WATCH_PORT),
    )


def _shipper(wiring: RouterWiring) -> str:
    config = ShipperConfig(ledger_dir=Path(LEDGER), warehouse_uri=wiring.warehouse_uri)
    # The writer is the pod, by its host name: one file serves them all.
    return config.model_dump_json(exclude={"writer"})


def _egress(cluster: Cluster, wiring: RouterWiring) -> list[Peer]:
    pods = [
        PodPeer(namespace=SERVING, labels=pool.pods, port=port)
        for pool in wiring.pools.values()
        for port in (pool.http_port, pool.adapter_sync_port)
    ]
    return [*cluster.api_peers, *pods, *wiring.egress]
