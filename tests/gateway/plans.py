"""Plans that the tests of Bifrost's file share."""

from collections.abc import Mapping
from decimal import Decimal

from registry.names import PoolName
from serving.bifrost.gateway import FallBack, GatewayPlan, Limits, PostgresStore, Split, Upstream
from serving.billing.prices import PoolPrices

STORE = PostgresStore(
    host="bifrost.db.example", port=5432, database="bifrost", user="bifrost", ssl_mode="require"
)


def plan(
    routing: FallBack | Split | None = None,
    customers: Mapping[str, Limits] | None = None,
    *,
    store: PostgresStore | None = None,
    everybody_else: Limits | None = None,
) -> GatewayPlan:
    """Two pools under the guide's names."""
    return GatewayPlan(
        pools={
            "slm": _upstream("slm", "llama-8b", ("0.20", "0.05", "0.80")),
            "llm": _upstream("llm", "glm5", ("3.00", "0.75", "12.00")),
        },
        customers=customers or {},
        everybody_else=everybody_else or Limits(),
        routing=routing,
        store=store,
        request_timeout_s=600,
        stream_idle_s=300,
        max_body_mib=2,
    )


def split(slm: str, llm: str) -> Split:
    """A random split."""
    return Split(shares={"slm": Decimal(slm), "llm": Decimal(llm)})


def _upstream(pool: PoolName, base: str, prices: tuple[str, str, str]) -> Upstream:
    per_million = dict(zip(("input", "cached_input", "output"), prices, strict=True))
    return Upstream(
        base_url=f"http://vllm-{pool}-svc.agentic-serving.svc.cluster.local:8000",
        served_base=base,
        prices=PoolPrices.model_validate(per_million),
    )
