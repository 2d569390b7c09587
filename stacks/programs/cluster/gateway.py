"""The gateway between the router and the model pools: none, or Bifrost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from components.background_service import Scraping
from components.bifrost import PORT as BIFROST_PORT
from components.bifrost import SERVICE, Bifrost, BifrostArgs
from components.model_pool import PodGroup
from components.pods import NAME_LABEL, NetworkPeer, Peer, PodPeer, SecretKey
from registry.names import PoolName
from serving.bifrost.gateway import (
    DEFAULT_KEY,
    ENCRYPTION_KEY,
    FILE,
    MCP_LIBRARY,
    MODEL_PARAMETERS,
    POSTGRES_PASSWORD,
    PRICES,
    FallBack,
    GatewayPlan,
    Limits,
    PostgresStore,
    Split,
    Upstream,
    gateway_file,
    key_variable,
    price_sheet,
    provider_of,
)
from serving.bifrost.schema import to_json_data
from serving.billing.prices import PricePeriod, PriceTable
from serving.router.config import Via
from serving.tracing.config import SecretSource
from stacks.config.bifrost import (
    EVERYBODY,
    AsAsked,
    BifrostConfig,
    CustomerLimits,
    Direct,
    Weighted,
)
from stacks.config.bifrost import PostgresStore as PostgresConfig
from stacks.programs.cluster.context import SERVING, Cluster

GATEWAY_PODS: Final = PodGroup(namespace=SERVING, labels={NAME_LABEL: SERVICE})
"""Pods of Bifrost: clients of the pools, where there are any."""


@dataclass(frozen=True, kw_only=True)
class PoolAddress:
    """A pool as the gateway reaches it."""

    service: str
    """Name of the Service of its servers."""
    pods: PodPeer
    """With the port that they listen on."""
    served_base: str

    @property
    def url(self) -> str:
        """Without `/v1`."""
        return f"http://{self.service}.{self.pods.namespace}.svc.cluster.local:{self.pods.port}"


@dataclass(frozen=True, kw_only=True)
class GatewayWiring:
    """What is around the gateway."""

    pools: Mapping[PoolName, PoolAddress]
    router: PodGroup
    """The pods that send requests."""
    prices: PriceTable
    max_body_mib: int
    """Largest request body, as the router's."""
    scraping: Scraping
    """How Prometheus reaches Bifrost, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """How the router reaches the pools."""

    via: Mapping[PoolName, Via] = field(default_factory=dict)
    """For the router's configuration; empty: it chooses among the servers itself."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """Variables of the router that `via` and `customer_keys` name."""
    customer_keys: Mapping[str, str] = field(default_factory=dict)
    """Variable with the virtual key of each customer that has one."""
    egress: tuple[Peer, ...] = ()
    """What the router must be able to reach for it."""
    warnings: tuple[str, ...] = ()
    """What holds with this choice, for preview."""


def declare_gateway(
    config: Direct | BifrostConfig, cluster: Cluster, wiring: GatewayWiring
) -> Gateway:
    """Declare what is between the router and the pools.

    Raises:
        ValueError: The configuration names a pool that this environment does not have.
    """
    if isinstance(config, Direct):
        return Gateway()
    return declare_bifrost(config, cluster, wiring)


def declare_bifrost(config: BifrostConfig, cluster: Cluster, wiring: GatewayWiring) -> Gateway:
    """Declare Bifrost.

    Raises:
        ValueError: The configuration names a pool that this environment does not have.
    """
    plan = gateway_plan(config, wiring)
    component = Bifrost(
        f"{cluster.environment}-bifrost",
        BifrostArgs(
            provider=cluster.kubernetes,
            namespace=SERVING,
            image=config.image,
            replicas=config.replicas,
            files=_files(plan),
            secrets=_secrets(config),
            cpu=config.cpu,
            memory_mib=config.memory_mib,
            answer_limit_s=config.request_timeout_s,
            clients=[wiring.router.at(BIFROST_PORT)],
            egress=_egress(config, wiring),
            scraping=wiring.scraping if "prometheus" in cluster.operators else None,
        ),
    )
    key = SecretSource(env=key_variable(DEFAULT_KEY))
    return Gateway(
        via={
            pool: Via(url=component.url, provider=provider_of(pool), key=key)
            for pool in wiring.pools
        },
        secrets=_virtual_keys(config),
        customer_keys={name: key_variable(name) for name in _listed(config)},
        egress=(GATEWAY_PODS.at(BIFROST_PORT),),
        warnings=_warnings(config),
    )


def gateway_plan(config: BifrostConfig, wiring: GatewayWiring) -> GatewayPlan:
    """Return everything that Bifrost's file depends on.

    Raises:
        ValueError: The configuration names a pool that this environment does not have.
    """
    prices = _prices(wiring.prices)
    return GatewayPlan(
        pools={
            pool: Upstream(
                base_url=each.url, served_base=each.served_base, prices=prices.pool(pool)
            )
            for pool, each in wiring.pools.items()
        },
        customers={name: _limits(each) for name, each in _listed(config).items()},
        everybody_else=_limits(config.customers.get(EVERYBODY, CustomerLimits())),
        routing=_routing(config, wiring),
        store=_store(config),
        request_timeout_s=config.request_timeout_s,
        stream_idle_s=config.stream_idle_s,
        max_body_mib=wiring.max_body_mib,
    )


def _prices(table: PriceTable) -> PricePeriod:
    # The newest, whatever the day is: a file that changed by itself would change at every preview.
    return table.prices[-1]


def _listed(config: BifrostConfig) -> dict[str, CustomerLimits]:
    return {name: each for name, each in config.customers.items() if name != EVERYBODY}


def _limits(limits: CustomerLimits) -> Limits:
    budget = limits.budget
    return Limits(
        max_usd=None if budget is None else budget.max_usd,
        budget_window=Limits.budget_window if budget is None else budget.each,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_hour=limits.tokens_per_hour,
    )


def _routing(config: BifrostConfig, wiring: GatewayWiring) -> FallBack | Split | None:
    routing = config.routing
    if isinstance(routing, Weighted):
        _refuse_missing(set(routing.weights), wiring, "weights")
        return Split(shares=routing.weights)
    if routing.fall_back_to is None:
        return None
    _refuse_missing({routing.fall_back_to}, wiring, "fall_back_to")
    return FallBack(pool=routing.fall_back_to, first_token_ms=routing.first_token_ms)


def _refuse_missing(pools: set[PoolName], wiring: GatewayWiring, key: str) -> None:
    missing = sorted(pools - set(wiring.pools))
    if missing:
        raise ValueError(
            f"gateway.routing.{key}: this environment serves no pool {missing[0]}: add it under "
            "pools (and check `phase`), or route without it"
        )


def _store(config: BifrostConfig) -> PostgresStore | None:
    store = config.store
    if not isinstance(store, PostgresConfig):
        return None
    return PostgresStore(
        host=store.host,
        port=store.port,
        database=store.database,
        user=store.user,
        ssl_mode=store.ssl_mode,
    )


def _files(plan: GatewayPlan) -> dict[str, str]:
    return {
        FILE: _json(to_json_data(gateway_file(plan))),
        PRICES: _json(price_sheet(plan)),
        # Without them it would ask its makers, whom no pod of this project reaches.
        MODEL_PARAMETERS: _json({}),
        MCP_LIBRARY: _json({}),
    }


def _json(data: object) -> str:
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def _virtual_keys(config: BifrostConfig) -> dict[str, SecretKey]:
    return {
        key_variable(entry): SecretKey(secret=config.virtual_keys, key=entry)
        for entry in (DEFAULT_KEY, *_listed(config))
    }


def _secrets(config: BifrostConfig) -> dict[str, SecretKey]:
    secrets = _virtual_keys(config)
    if isinstance(config.store, PostgresConfig):
        password = config.store.password
        secrets[POSTGRES_PASSWORD] = SecretKey(secret=password.secret, key=password.key)
        if config.encryption_key is not None:
            key = config.encryption_key
            secrets[ENCRYPTION_KEY] = SecretKey(secret=key.secret, key=key.key)
    return secrets


def _egress(config: BifrostConfig, wiring: GatewayWiring) -> list[Peer]:
    peers: list[Peer] = [each.pods for each in wiring.pools.values()]
    if isinstance(config.store, PostgresConfig):
        peers.append(NetworkPeer(cidr=config.store.network, port=config.store.port))
    return peers


def _warnings(config: BifrostConfig) -> tuple[str, ...]:
    found = []
    if isinstance(config.routing, Weighted):
        shares = ", ".join(f"{pool} {share}" for pool, share in config.routing.weights.items())
        found.append(
            f"gateway.routing: requests for base models are drawn at random ({shares}); the "
            "ledger books, and the bill charges, the pool that was asked"
        )
    elif isinstance(config.routing, AsAsked) and config.routing.fall_back_to is not None:
        found.append(
            f"gateway.routing: answers of {config.routing.fall_back_to} in place of another pool "
            "are booked as that other pool's"
        )
    return tuple(found)
