"""Configuration of the gateway between the router and the model pools."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from registry.names import PoolName
from stacks.config.base import Config, CustomerId, Port, Reason
from stacks.config.edge import HostName, Network, ObjectName
from stacks.config.images import ImageRef

EVERYBODY = "*"
"""In `customers`: whoever is not listed."""

SecretEntry = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]
Window = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}[smhdwMY]$")]
"""A time that Bifrost counts in, such as 1m, 1h, 1d, 1w, 1M, 1Y."""
Weight = Annotated[Decimal, Field(ge=0, le=1, max_digits=5, decimal_places=4)]


class SecretRef(Config):
    """One value of a Secret in the namespace of the gateway."""

    secret: ObjectName = Field(description="name of the Secret")
    key: SecretEntry = Field(description="entry in it")


class Direct(Config):
    """No gateway: the router speaks to the pools itself."""

    kind: Literal["direct"]


class FileStore(Config):
    """Bifrost keeps nothing: every replica reads the same file."""

    kind: Literal["file"]


class PostgresStore(Config):
    """Bifrost keeps what was spent in Postgres.

    Replicas of the open-source version do not tell each other what they change in memory: there
    is one with this store.
    """

    kind: Literal["postgres"]
    host: HostName = Field(description="name of the server")
    port: Port = Field(5432, description="its port")
    database: SecretEntry = Field("bifrost", description="database, in UTF8")
    user: SecretEntry = Field("bifrost", description="role that owns the database")
    password: SecretRef = Field(description="password of the role")
    ssl_mode: Literal["require", "verify-ca", "verify-full"] = Field(
        "require", description="how the connection is protected"
    )
    network: Network = Field(description="network of the server, for the NetworkPolicy")


class Budget(Config):
    """What may be spent in a time, by the prices in stacks/prices.yaml."""

    max_usd: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=2)] = Field(
        description="in USD; requests beyond it are refused by Bifrost"
    )
    each: Window = Field("1M", description="after this time it starts again")


class CustomerLimits(Config):
    """Limits of one customer, under a virtual key that only the router holds."""

    budget: Budget | None = Field(None, description="spending; needs store.kind postgres")
    requests_per_minute: int | None = Field(None, ge=1, description="requests")
    tokens_per_hour: int | None = Field(None, ge=1, description="input and output tokens")


class Weighted(Config):
    """The guide's random split: the same request goes to either pool."""

    mode: Literal["weighted"]
    weights: dict[PoolName, Weight] = Field(description="share of each pool; they sum to 1")
    reason: Reason = Field(
        description="why a random split is wanted: it does not look at the request, and the "
        "ledger books the pool that was asked"
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if set(self.weights) != {"slm", "llm"}:
            raise ValueError("weights name both pools, slm and llm")
        total = sum(self.weights.values(), Decimal(0))
        if total != 1:
            raise ValueError(f"weights sum to {total}, and must sum to 1")
        return self


class AsAsked(Config):
    """A request goes to the pool that the router chose."""

    mode: Literal["as-asked"]
    fall_back_to: PoolName | None = Field(
        None,
        description="pool whose base model answers when the other pool fails (5xx, or no first "
        "token in time); the ledger books the pool that was asked",
    )
    first_token_ms: int | None = Field(
        None,
        ge=100,
        description="a stream without a token for this long has failed (Bifrost v2.3.0 or later)",
    )

    @model_validator(mode="after")
    def _late_streams_go_somewhere(self) -> Self:
        if self.first_token_ms is not None and self.fall_back_to is None:
            raise ValueError(
                "first_token_ms ends a slow stream, and fall_back_to does not say who answers "
                "instead: set it, or remove first_token_ms"
            )
        return self


class BifrostConfig(Config):
    """Bifrost between the router and the pools."""

    kind: Literal["bifrost"]
    image: ImageRef = Field(description="maximhq/bifrost v2.2.5 or later, by digest")
    replicas: int = Field(2, ge=1, le=20, description="pods; 1 with store.kind postgres")
    store: Annotated[FileStore | PostgresStore, Field(discriminator="kind")] = Field(
        FileStore(kind="file"), description="where it keeps what was spent"
    )
    virtual_keys: ObjectName = Field(
        description="Secret with the virtual key of each customer under its id, and of everybody "
        "else under `default`; each value begins with sk-bf-"
    )
    encryption_key: SecretRef | None = Field(
        None, description="protects what is in Postgres; never change it"
    )
    routing: Annotated[AsAsked | Weighted, Field(discriminator="mode")] = Field(
        AsAsked(mode="as-asked"), description="which pool answers"
    )
    customers: dict[CustomerId | Literal["*"], CustomerLimits] = Field(
        default_factory=dict, description="limits by customer; * is for everybody else"
    )
    request_timeout_s: int = Field(600, ge=1, le=3600, description="one answer, to its end")
    stream_idle_s: int = Field(300, ge=5, le=3600, description="between two tokens")
    cpu: str = Field("1", pattern=r"^[1-9][0-9]*m?$", description="CPU request of a pod")
    memory_mib: int = Field(1024, ge=256, description="memory request and limit of a pod, MiB")

    @model_validator(mode="after")
    def _store_fits(self) -> Self:
        if isinstance(self.store, PostgresStore):
            if self.replicas != 1:
                raise ValueError(
                    f"replicas is {self.replicas}: with store.kind postgres Bifrost's open-source "
                    "replicas do not share what they count; set replicas to 1, or store.kind file"
                )
            if self.encryption_key is None:
                raise ValueError("encryption_key is missing: store.kind postgres needs it")
            return self
        spenders = sorted(name for name, limits in self.customers.items() if limits.budget)
        if spenders:
            raise ValueError(
                f"customers.{spenders[0]}.budget: with store.kind file every pod forgets what was "
                "spent when it ends; use store.kind postgres, or limit requests and tokens"
            )
        return self


Gateway = Annotated[Direct | BifrostConfig, Field(discriminator="kind")]
"""`gateway: {kind: direct}` or `gateway: {kind: bifrost, …}` of an environment."""
