"""From pools, customers and prices to Bifrost's configuration file. No I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from registry.names import PoolName
from serving.bifrost.schema import (
    AllowedProvider,
    AllowedRequests,
    Budget,
    Client,
    Customer,
    CustomProvider,
    Disabled,
    Framework,
    GatewayFile,
    Governance,
    NetworkConfig,
    Postgres,
    PostgresConnection,
    Pricing,
    PricingOverride,
    Provider,
    ProviderKey,
    RateLimit,
    RoutingRule,
    Target,
    VirtualKey,
)
from serving.billing.prices import PoolPrices

APP_DIR: Final = "/app/data"
"""Where Bifrost looks for its files."""
FILE: Final = "config.json"
PRICES: Final = "pricing.json"
MODEL_PARAMETERS: Final = "model-parameters.json"
MCP_LIBRARY: Final = "mcp-library.json"
ENCRYPTION_KEY: Final = "BIFROST_ENCRYPTION_KEY"
POSTGRES_PASSWORD: Final = "POSTGRES_PASSWORD"  # noqa: S105  the name of a variable
DEFAULT_KEY: Final = "default"
"""The virtual key of everybody who has none of their own, and its entry in the Secret."""

_PER_MILLION: Final = Decimal(1_000_000)


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A model pool as Bifrost sees it."""

    base_url: str
    """Without `/v1`."""
    served_base: str
    """Name of the base model on its servers."""
    prices: PoolPrices


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one customer may use."""

    max_usd: Decimal | None = None
    budget_window: str = "1M"
    requests_per_minute: int | None = None
    tokens_per_hour: int | None = None


@dataclass(frozen=True, kw_only=True)
class FallBack:
    """Requests of the other pool get this pool's base model when their own fails."""

    pool: PoolName
    first_token_ms: int | None
    """Longer is a failure."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Requests for a base model go to either pool, at random."""

    shares: Mapping[PoolName, Decimal]


@dataclass(frozen=True, kw_only=True)
class PostgresStore:
    """Where what was spent is kept; the password is a variable."""

    host: str
    port: int
    database: str
    user: str
    ssl_mode: Any


@dataclass(frozen=True, kw_only=True)
class GatewayPlan:
    """Everything that the file depends on."""

    pools: Mapping[PoolName, Upstream]
    customers: Mapping[str, Limits]
    everybody_else: Limits
    routing: FallBack | Split | None
    """None: a request goes where the router sends it, and nowhere else."""
    store: PostgresStore | None
    request_timeout_s: int
    stream_idle_s: int
    max_body_mib: int


def provider_of(pool: PoolName) -> str:
    """Return the name of a pool's provider; requests name it before the model: `vllm-slm/…`."""
    return f"vllm-{pool}"


def key_variable(entry: str) -> str:
    """Return the variable that holds a virtual key.

    Ids of customers have letters, digits and `-`, so that two of them never share a variable.
    """
    return f"VIRTUAL_KEY_{entry.replace('-', '_')}"


def gateway_file(plan: GatewayPlan) -> GatewayFile:
    """Return the configuration file.

    Raises:
        ValueError: The plan contradicts itself, such as shares that do not sum to 1.
    """
    return GatewayFile(
        encryption_key=None if plan.store is None else f"env.{ENCRYPTION_KEY}",
        client=_client(plan.max_body_mib),
        framework=Framework(
            pricing=Pricing(
                pricing_url=f"file://{APP_DIR}/{PRICES}",
                model_parameters_url=f"file://{APP_DIR}/{MODEL_PARAMETERS}",
                mcp_library_url=f"file://{APP_DIR}/{MCP_LIBRARY}",
            )
        ),
        providers={
            provider_of(pool): _provider(plan, pool, each) for pool, each in plan.pools.items()
        },
        governance=_governance(plan),
        config_store=Disabled() if plan.store is None else _postgres(plan.store),
        logs_store=Disabled(),
    )


def price_sheet(plan: GatewayPlan) -> dict[str, Any]:
    """Return the catalogue that stands in for the one that Bifrost would fetch from its makers."""
    return {
        f"{provider_of(pool)}/{each.served_base}": {
            "provider": provider_of(pool),
            "mode": "chat",
            **_per_token(each.prices),
        }
        for pool, each in plan.pools.items()
    }


def _client(max_body_mib: int) -> Client:
    return Client(
        # Prompts and answers are nowhere but in the traces, by the rules of the domain.
        enable_logging=False,
        disable_content_logging=True,
        allow_direct_keys=False,
        enforce_auth_on_inference=True,
        drop_excess_requests=True,
        max_request_body_size_mb=max_body_mib,
    )


def _provider(plan: GatewayPlan, pool: PoolName, upstream: Upstream) -> Provider:
    return Provider(
        keys=(ProviderKey(name=pool, value="dummy", models=("*",)),),
        network_config=NetworkConfig(
            base_url=upstream.base_url,
            allow_private_network=True,
            default_request_timeout_in_seconds=plan.request_timeout_s,
            stream_idle_timeout_in_seconds=plan.stream_idle_s,
            # Only the router tries again: it is the one that counts attempts.
            max_retries=0,
        ),
        custom_provider_config=CustomProvider(
            allowed_requests=AllowedRequests(
                list_models=True,
                text_completion=True,
                text_completion_stream=True,
                chat_completion=True,
                chat_completion_stream=True,
            )
        ),
    )


def _governance(plan: GatewayPlan) -> Governance:
    listed = sorted(plan.customers.items())
    limits = [(f"customer-{name}", each) for name, each in listed]
    limits.append((DEFAULT_KEY, plan.everybody_else))
    return Governance(
        customers=tuple(
            Customer(
                id=f"customer-{name}",
                name=name,
                rate_limit_id=_limit_id(f"customer-{name}", each),
            )
            for name, each in listed
        ),
        budgets=tuple(
            Budget(
                id=f"budget-{owner}",
                max_limit=each.max_usd,
                reset_duration=each.budget_window,
                customer_id=None if owner == DEFAULT_KEY else owner,
                virtual_key_id=f"key-{DEFAULT_KEY}" if owner == DEFAULT_KEY else None,
            )
            for owner, each in limits
            if each.max_usd is not None
        ),
        rate_limits=tuple(
            _rate_limit(owner, each) for owner, each in limits if _limit_id(owner, each)
        ),
        virtual_keys=(
            *(_virtual_key(plan, name, f"customer-{name}") for name, _ in listed),
            _virtual_key(plan, DEFAULT_KEY, None),
        ),
        routing_rules=_rules(plan),
        pricing_overrides=tuple(_override(pool, each) for pool, each in plan.pools.items()),
    )


def _limit_id(owner: str, limits: Limits) -> str | None:
    is_limited = limits.requests_per_minute is not None or limits.tokens_per_hour is not None
    return f"limit-{owner}" if is_limited else None


def _rate_limit(owner: str, limits: Limits) -> RateLimit:
    return RateLimit(
        id=f"limit-{owner}",
        request_max_limit=limits.requests_per_minute,
        request_reset_duration=None if limits.requests_per_minute is None else "1m",
        token_max_limit=limits.tokens_per_hour,
        token_reset_duration=None if limits.tokens_per_hour is None else "1h",
    )


def _virtual_key(plan: GatewayPlan, entry: str, customer: str | None) -> VirtualKey:
    return VirtualKey(
        id=f"key-{entry}",
        name=entry,
        value=f"env.{key_variable(entry)}",
        customer_id=customer,
        rate_limit_id=_limit_id(DEFAULT_KEY, plan.everybody_else) if customer is None else None,
        provider_configs=tuple(
            AllowedProvider(
                provider=provider_of(pool),
                allowed_models=("*",),
                key_ids=("*",),
            )
            for pool in plan.pools
        ),
    )


def _rules(plan: GatewayPlan) -> tuple[RoutingRule, ...]:
    if plan.routing is None:
        return ()
    if isinstance(plan.routing, Split):
        return (_split_rule(plan, plan.routing),)
    return tuple(_fall_back_rules(plan, plan.routing))


def _split_rule(plan: GatewayPlan, split: Split) -> RoutingRule:
    # Adapters are not in both pools: only requests for base models can go to either.
    bases = json.dumps(sorted(each.served_base for each in plan.pools.values()))
    return RoutingRule(
        id="split",
        name="base models to either pool",
        cel_expression=f"model in {bases}",
        targets=tuple(
            Target(provider=provider_of(pool), model=plan.pools[pool].served_base, weight=share)
            for pool, share in split.shares.items()
            if share
        ),
        priority=0,
    )


def _fall_back_rules(plan: GatewayPlan, fall_back: FallBack) -> list[RoutingRule]:
    to = plan.pools[fall_back.pool]
    return [
        RoutingRule(
            id=f"fall-back-from-{pool}",
            name=f"{pool}, or {fall_back.pool} when it fails",
            cel_expression=f"provider == {json.dumps(provider_of(pool))}",
            targets=(
                Target(
                    provider=provider_of(pool),
                    weight=Decimal(1),
                    ttft_timeout_ms=fall_back.first_token_ms,
                ),
            ),
            fallbacks=(f"{provider_of(fall_back.pool)}/{to.served_base}",),
            priority=0,
        )
        for pool in plan.pools
        if pool != fall_back.pool
    ]


def _override(pool: PoolName, upstream: Upstream) -> PricingOverride:
    return PricingOverride(
        id=f"prices-{pool}",
        name=f"prices of {pool}",
        provider_id=provider_of(pool),
        # Adapters too: their names are in no catalogue, and what has no price spends no budget.
        match_type="wildcard",
        pattern="*",
        request_types=("chat_completion", "text_completion"),
        pricing_patch=json.dumps(_per_token(upstream.prices)),
    )


def _per_token(prices: PoolPrices) -> dict[str, float]:
    """USD for each token, as floats because Bifrost reads floats; bills are made elsewhere."""
    return {
        "input_cost_per_token": float(prices.input / _PER_MILLION),
        "output_cost_per_token": float(prices.output / _PER_MILLION),
        "cache_read_input_token_cost": float(prices.cached_input / _PER_MILLION),
    }


def _postgres(store: PostgresStore) -> Postgres:
    return Postgres(
        config=PostgresConnection(
            host=store.host,
            port=str(store.port),
            user=store.user,
            password=f"env.{POSTGRES_PASSWORD}",
            db_name=store.database,
            ssl_mode=store.ssl_mode,
        )
    )
