"""Which served model answers a request. No I/O.

`model` may be an alias of a pool (the domain's live release answers, or the base model of a domain
without releases), the served name of a release of the own domain, and `lora_name` may name the
domain's adapter beside it. A name of another domain and a name that nobody has are refused by the
same words, so an answer says nothing about other domains.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from registry.names import PoolName, Version, parse_served_name
from serving.router.errors import Refusal
from serving.router.tenancy import Caller, TenancyRecord

_MAX_SHOWN = 80


@dataclass(frozen=True)
class Serving:
    """One release in one pool, or a pool's base model that answers without a release."""

    pool: PoolName
    served_model: str
    version: Version | None
    """None without a release."""
    digest: str | None
    """Adapter digest; None when the base model answers."""

    @property
    def release(self) -> str | None:
        """The version as it is recorded."""
        return None if self.version is None else str(self.version)


@dataclass(frozen=True)
class DomainReleases:
    """What can answer for a domain right now."""

    live: Mapping[PoolName, Serving]
    """By pool, where aliases lead."""
    held: tuple[Serving, ...] = ()
    """Adapters that may be asked for by their served names: live and the release before it."""
    wanted: Version | None = None
    """What the pointer names; an alias that is missing from `live` waits for it to load. None when
    the base models answer, and when nothing may."""
    awaited: Mapping[PoolName, Serving] = field(default_factory=dict)
    """By pool, what is not live but may still come: no server is there, or one may load it yet."""


@dataclass(frozen=True)
class Asked:
    """The names in a request's body."""

    model: str
    lora_name: str | None


@dataclass(frozen=True)
class PoolAliases:
    """Model names by which clients mean a pool."""

    pools: Mapping[str, PoolName]

    def pool(self, model: str) -> PoolName | None:
        """The pool of an alias."""
        return self.pools.get(model)


NO_RELEASES = DomainReleases(live={})


def resolve(
    caller: Caller, asked: Asked, aliases: PoolAliases, releases: DomainReleases
) -> Serving | Refusal:
    """Choose the release and pool that answer, or say why none does."""
    if asked.lora_name is not None:
        return _resolve_adapter(caller, asked, aliases, releases)
    pool = aliases.pool(asked.model)
    if pool is None:
        return _by_served_name(caller.tenant, asked.model, releases, param="model")
    if pool not in caller.tenant.pools:
        return _model_not_found(asked.model, "model")
    return _live(caller.tenant, pool, releases)


def visible_models(
    tenant: TenancyRecord, aliases: PoolAliases, releases: DomainReleases
) -> Iterator[tuple[str, str | None]]:
    """Names that the domain may ask for, each with the served model that answers it now."""
    for alias, pool in aliases.pools.items():
        if pool in tenant.pools:
            live = releases.live.get(pool)
            yield alias, live.served_model if live else None
    yield from dict.fromkeys((held.served_model, held.served_model) for held in releases.held)


def _resolve_adapter(
    caller: Caller, asked: Asked, aliases: PoolAliases, releases: DomainReleases
) -> Serving | Refusal:
    """`lora_name` names the adapter; `model` must be a pool's alias or the same adapter."""
    lora_name = asked.lora_name or ""
    tenant = caller.tenant
    pool = aliases.pool(asked.model)
    if not _names_domain(lora_name, tenant.domain):
        return _disagreement(caller, asked)
    if pool is None and not _same_adapter(asked.model, lora_name, releases):
        return _disagreement(caller, asked)
    if tenant.answered_by == "base":
        return _model_not_found(lora_name, "lora_name")
    if lora_name != tenant.domain:
        return _by_served_name(tenant, lora_name, releases, param="lora_name", prefer=pool)
    # The guide's call names its large base model beside the adapter: the adapter decides the pool.
    adapters = [releases.live[p] for p in tenant.pools if p in releases.live]
    adapters = [serving for serving in adapters if serving.digest is not None]
    if adapters:
        return next((serving for serving in adapters if serving.pool == pool), adapters[0])
    coming = [p for p in tenant.pools if p in releases.awaited and releases.awaited[p].digest]
    return _no_release(tenant, releases, coming[0] if coming else None)


def _names_domain(name: str, domain: str) -> bool:
    parsed = parse_served_name(name)
    return name == domain or (parsed is not None and parsed[0] == domain)


def _same_adapter(model: str, lora_name: str, releases: DomainReleases) -> bool:
    if model == lora_name:
        return parse_served_name(model) is not None
    return any(
        model == serving.served_model and serving.served_model.startswith(f"{lora_name}-v")
        for serving in releases.live.values()
    )


def _by_served_name(
    tenant: TenancyRecord,
    name: str,
    releases: DomainReleases,
    *,
    param: str,
    prefer: PoolName | None = None,
) -> Serving | Refusal:
    held = [s for s in releases.held if s.served_model == name and s.pool in tenant.pools]
    if not held:
        return _model_not_found(name, param)
    return next((serving for serving in held if serving.pool == prefer), held[0])


def _live(tenant: TenancyRecord, pool: PoolName, releases: DomainReleases) -> Serving | Refusal:
    coming = pool if pool in releases.awaited else None
    return releases.live.get(pool) or _no_release(tenant, releases, coming)


def _no_release(
    tenant: TenancyRecord, releases: DomainReleases, coming: PoolName | None
) -> Refusal:
    if releases.wanted is not None:
        code = "release_not_loaded"
        message = f"release {releases.wanted} of domain {tenant.domain} is not loaded yet"
    elif coming is not None:
        code = "pool_not_up"
        message = f"no server of pool {coming} answers yet"
    else:
        code = "no_live_release"
        message = f"no release is live for domain {tenant.domain}"
    return Refusal(503, code, message, "model", headers={"Retry-After": "5"}, coming=coming)


def not_held(target: Serving) -> Refusal:
    """What a request gets whose release no server holds at this moment."""
    return Refusal(
        503,
        "release_not_loaded",
        f"no server of pool {target.pool} holds {target.served_model} now",
        "model",
        headers={"Retry-After": "5"},
        coming=target.pool,
    )


def _model_not_found(name: str, param: str) -> Refusal:
    return Refusal(
        404,
        "model_not_found",
        f"the model {name[:_MAX_SHOWN]!r} does not exist or is not yours: GET /v1/models lists "
        "the names that this key may use",
        param,
    )


def _disagreement(caller: Caller, asked: Asked) -> Refusal:
    header = caller.domain_header
    said = (
        f"X-Customer-Domain {header!r}"
        if header is not None
        else f"X-Customer-Domain (missing; the key is for {caller.tenant.domain!r})"
    )
    return Refusal(
        400,
        "names_disagree",
        f"{said}, model {asked.model[:_MAX_SHOWN]!r} and lora_name "
        f"{(asked.lora_name or '')[:_MAX_SHOWN]!r} disagree: lora_name must be "
        f"{caller.tenant.domain!r} or one of its releases, and model a pool or that same release",
        "lora_name",
    )
