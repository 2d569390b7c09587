"""The parts of Bifrost's config.json that are used, as models: what they do not know is refused.

After transports/config.schema.json (commit 003ecc6a), docs/deployment-guides/config-json/{client,
governance,storage}.mdx and docs/providers/{custom-providers,custom-pricing,routing-rules}.mdx of
maximhq/bifrost. No Bifrost was run against them.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

Number = Annotated[Decimal, PlainSerializer(float, return_type=float)]
"""Exact here, a number of JSON in the file: Bifrost reads it as a float."""
EnvRef = Annotated[str, StringConstraints(pattern=r"^env\.[A-Za-z_][A-Za-z0-9_]*$")]
"""The only form of a secret that is rendered: a reference to the environment of the process."""
Window = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*[smhdwMY]$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Share = Annotated[Number, Field(ge=0, le=1)]
_PREFIX = "*"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderKey(_Model):
    """A key of a provider. Of the keys that allow the requested model one is drawn, by weight."""

    name: Identifier
    value: EnvRef | Literal["dummy"]
    """vLLM asks for none: `dummy`, as in the guide."""
    weight: Share = Decimal(1)
    models: tuple[str, ...] = Field(min_length=1)
    """`["*"]` allows all."""


class NetworkConfig(_Model):
    """How a provider is reached."""

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+$")]
    """Without `/v1`."""
    allow_private_network: bool | None = None
    """Addresses of clusters are refused without it."""
    default_request_timeout_in_seconds: int | None = Field(None, ge=1)
    stream_idle_timeout_in_seconds: int | None = Field(None, ge=5, le=3600)
    max_retries: int | None = Field(None, ge=0)


class AllowedRequests(_Model):
    """Kinds of requests; what is not named is refused."""

    list_models: bool = False
    text_completion: bool = False
    text_completion_stream: bool = False
    chat_completion: bool = False
    chat_completion_stream: bool = False


class CustomProvider(_Model):
    """A provider under a name of its own."""

    base_provider_type: Literal["openai"] = "openai"
    allowed_requests: AllowedRequests


class Provider(_Model):
    """One provider."""

    keys: tuple[ProviderKey, ...] = Field(min_length=1)
    network_config: NetworkConfig
    custom_provider_config: CustomProvider | None = None


class Client(_Model):
    """What Bifrost does with every request."""

    enable_logging: bool
    disable_content_logging: bool
    allow_direct_keys: bool
    enforce_auth_on_inference: bool
    drop_excess_requests: bool
    max_request_body_size_mb: int = Field(ge=1)


class Pricing(_Model):
    """Where prices of models come from."""

    pricing_url: Annotated[str, StringConstraints(pattern=r"^file:///")]
    model_parameters_url: Annotated[str, StringConstraints(pattern=r"^file:///")]
    mcp_library_url: Annotated[str, StringConstraints(pattern=r"^file:///")]


class Framework(_Model):
    """The part of the file that says where catalogues are."""

    pricing: Pricing


class Customer(_Model):
    """A customer."""

    id: Identifier
    name: str
    rate_limit_id: Identifier | None = None


class Budget(_Model):
    """What its owner may spend; owned by exactly one here (Bifrost allows none)."""

    id: Identifier
    max_limit: Annotated[Number, Field(gt=0)]
    """USD."""
    reset_duration: Window
    customer_id: Identifier | None = None
    virtual_key_id: Identifier | None = None

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if (self.customer_id is None) == (self.virtual_key_id is None):
            raise ValueError(f"budget {self.id}: name one owner, customer_id or virtual_key_id")
        return self


class RateLimit(_Model):
    """Requests, tokens or both in a time."""

    id: Identifier
    request_max_limit: int | None = Field(None, ge=1)
    request_reset_duration: Window | None = None
    token_max_limit: int | None = Field(None, ge=1)
    token_reset_duration: Window | None = None

    @model_validator(mode="after")
    def _limits_have_times(self) -> Self:
        pairs = {
            "request": (self.request_max_limit, self.request_reset_duration),
            "token": (self.token_max_limit, self.token_reset_duration),
        }
        for kind, (limit, window) in pairs.items():
            if (limit is None) != (window is None):
                raise ValueError(
                    f"rate limit {self.id}: {kind}_max_limit and {kind}_reset_duration go together"
                )
        if self.request_max_limit is None and self.token_max_limit is None:
            raise ValueError(f"rate limit {self.id} limits nothing")
        return self


class AllowedProvider(_Model):
    """What a virtual key may use; without weights: the request names its provider itself."""

    provider: Identifier
    allowed_models: tuple[str, ...] = Field(min_length=1)
    """In version 2 of the file an empty list refuses all."""
    key_ids: tuple[str, ...] = Field(min_length=1)


class VirtualKey(_Model):
    """A key that only the router holds."""

    id: Identifier
    name: str
    value: EnvRef
    customer_id: Identifier | None = None
    rate_limit_id: Identifier | None = None
    provider_configs: tuple[AllowedProvider, ...] = Field(min_length=1)


class Target(_Model):
    """Where a rule sends its share of requests; without a model, the requested one is kept."""

    provider: Identifier
    model: str | None = None
    weight: Annotated[Number, Field(gt=0, le=1)]
    ttft_timeout_ms: int | None = Field(None, ge=1)
    """From v2.3.0 on; before, the file is refused with it."""


class RoutingRule(_Model):
    """The first rule whose expression (CEL) holds decides, lowest priority first."""

    id: Identifier
    name: str
    enabled: Literal[True] = True
    cel_expression: Annotated[str, StringConstraints(min_length=1)]
    """An empty one would match everything."""
    targets: tuple[Target, ...] = Field(min_length=1)
    fallbacks: tuple[str, ...] = ()
    """`provider/model`."""
    scope: Literal["global"] = "global"
    priority: int = Field(ge=0)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = sum((target.weight for target in self.targets), Decimal(0))
        if total != 1:
            raise ValueError(f"rule {self.id}: weights of targets sum to {total}, not to 1")
        return self


class PricingOverride(_Model):
    """Prices of one provider's models whose names begin alike."""

    id: Identifier
    name: str
    scope_kind: Literal["provider"] = "provider"
    provider_id: Identifier
    match_type: Literal["exact", "wildcard"]
    pattern: Annotated[str, StringConstraints(min_length=1)]
    request_types: tuple[Literal["chat_completion", "text_completion"], ...] = Field(min_length=1)
    pricing_patch: str
    """JSON in a string, as Bifrost has it."""

    @model_validator(mode="after")
    def _wildcards_end_the_pattern(self) -> Self:
        stars = self.pattern.count(_PREFIX)
        wanted = 1 if self.match_type == "wildcard" else 0
        if stars != wanted or (wanted and not self.pattern.endswith(_PREFIX)):
            raise ValueError(
                f"pricing override {self.id}: {self.match_type} and {self.pattern!r} do not fit: "
                "a wildcard ends with its one *, an exact name has none"
            )
        return self


class Governance(_Model):
    """Who may do what, and where requests go. An empty list removes what Postgres still holds."""

    customers: tuple[Customer, ...] = ()
    budgets: tuple[Budget, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    virtual_keys: tuple[VirtualKey, ...] = ()
    routing_rules: tuple[RoutingRule, ...] = ()
    pricing_overrides: tuple[PricingOverride, ...] = ()

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        _unique("customer", self.customers)
        _unique("budget", self.budgets)
        _unique("rate limit", self.rate_limits)
        _unique("virtual key", self.virtual_keys)
        _unique("routing rule", self.routing_rules)
        _unique("pricing override", self.pricing_overrides)
        customers = {each.id for each in self.customers}
        keys = {each.id for each in self.virtual_keys}
        limits = {each.id for each in self.rate_limits}
        for budget in self.budgets:
            _known(f"budget {budget.id}: customer", budget.customer_id, customers)
            _known(f"budget {budget.id}: virtual key", budget.virtual_key_id, keys)
        for customer in self.customers:
            _known(f"customer {customer.id}: rate limit", customer.rate_limit_id, limits)
        for key in self.virtual_keys:
            _known(f"virtual key {key.id}: customer", key.customer_id, customers)
            _known(f"virtual key {key.id}: rate limit", key.rate_limit_id, limits)
        return self


class Disabled(_Model):
    """A store that is off."""

    enabled: Literal[False] = False


class PostgresConnection(_Model):
    """Where Postgres is."""

    host: str
    port: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}$")]
    user: str
    password: EnvRef
    db_name: str
    ssl_mode: Literal["require", "verify-ca", "verify-full"]


class Postgres(_Model):
    """A store in Postgres."""

    enabled: Literal[True] = True
    type: Literal["postgres"] = "postgres"
    config: PostgresConnection


class GatewayFile(_Model):
    """The file. Version 2: empty lists of models and keys refuse all."""

    version: Literal[2] = 2
    source_of_truth: Literal["config.json"] = "config.json"
    encryption_key: EnvRef | None = None
    client: Client
    framework: Framework
    providers: dict[Identifier, Provider] = Field(min_length=1)
    governance: Governance
    config_store: Disabled | Postgres
    logs_store: Disabled
    plugins: tuple[()] = ()
    """None: metrics are always there, and no plugin exports traces."""

    @model_validator(mode="after")
    def _providers_exist(self) -> Self:
        names = set(self.providers)
        for key in self.governance.virtual_keys:
            for each in key.provider_configs:
                _known(f"virtual key {key.id}: provider", each.provider, names)
        for rule in self.governance.routing_rules:
            for target in rule.targets:
                _known(f"rule {rule.id}: provider", target.provider, names)
            for fallback in rule.fallbacks:
                _known(f"rule {rule.id}: fallback", fallback.split("/", 1)[0], names)
        for override in self.governance.pricing_overrides:
            _known(f"pricing override {override.id}: provider", override.provider_id, names)
        return self


class ProvidersFile(_Model):
    """A file with providers alone, as the guide has it."""

    providers: dict[Identifier, Provider] = Field(min_length=1)


def to_json_data(file: BaseModel) -> dict[str, Any]:
    """Return what the file says, without what it leaves out."""
    return file.model_dump(mode="json", exclude_none=True)


def _unique(kind: str, entries: tuple[Any, ...]) -> None:
    ids = [each.id for each in entries]
    for id_ in ids:
        if ids.count(id_) > 1:
            raise ValueError(f"{kind} {id_} is there twice")


def _known(what: str, name: str | None, known: set[str]) -> None:
    if name is not None and name not in known:
        raise ValueError(f"{what} {name!r} does not exist")
