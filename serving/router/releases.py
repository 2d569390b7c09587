"""When an alias moves: the rule over what the pointer wants and what the servers hold. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.manifest import Manifest
from registry.names import PoolName, served_name
from serving.router.resolution import DomainReleases, Serving


@dataclass(frozen=True)
class PodReport:
    """What one model server holds, by its adapter-sync."""

    adapters: frozenset[tuple[str, str]]
    """Served name and adapter digest of every loaded adapter."""
    base: bool = True
    """Whether the server answers at all."""
    pod: str | None = None
    """Name of the server's pod."""


@dataclass(frozen=True)
class PoolState:
    """What is known of a pool."""

    served_base: str
    quorum: int
    pods: Sequence[PodReport] | None
    """None when no report could be had: nothing is known, so nothing moves."""


@dataclass(frozen=True)
class Wanted:
    """What the pointer of a domain says, verified."""

    live: Manifest | None
    previous: Manifest | None


def serving_of(manifest: Manifest, pool: PoolName, served_base: str) -> Serving:
    """How a pool serves a release: by its adapter, or by the base model where it has none."""
    adapter = manifest.adapter(pool)
    if adapter is None:
        return Serving(pool, served_base, manifest.version, None)
    name = served_name(manifest.domain, manifest.version)
    return Serving(pool, name, manifest.version, adapter.adapter_digest)


def holders(serving: Serving, pods: Sequence[PodReport]) -> int:
    """How many servers can answer for a release; every server that is up holds the base."""
    if serving.digest is None:
        return sum(pod.base for pod in pods)
    return sum((serving.served_model, serving.digest) in pod.adapters for pod in pods)


def only_pod(pods: Sequence[PodReport]) -> str | None:
    """The pod that answers every request of a pool: there must be no other."""
    return pods[0].pod if len(pods) == 1 else None


def alias_target(
    wanted: Serving | None, current: Serving | None, previous: Serving | None, state: PoolState
) -> Serving | None:
    """Where the alias leads after this look at the pool.

    The wanted release takes over when a quorum of servers holds it. Until then the one that
    answers now goes on, as long as one server holds it; then the release before. Without a report
    nothing changes, and a domain whose pointer wants nothing has no alias.
    """
    if wanted is None:
        return None
    if state.pods is None:
        return current
    if holders(wanted, state.pods) >= state.quorum:
        return wanted
    for fallback in (current, previous):
        if fallback is not None and holders(fallback, state.pods) > 0:
            return fallback
    return None


def domain_releases(
    wanted: Wanted, current: DomainReleases, pools: Mapping[PoolName, PoolState]
) -> DomainReleases:
    """The next release map of one domain."""
    live: dict[PoolName, Serving] = {}
    held: list[Serving] = []
    for pool, state in pools.items():
        newest, before = (
            None if manifest is None else serving_of(manifest, pool, state.served_base)
            for manifest in (wanted.live, wanted.previous)
        )
        target = alias_target(newest, current.live.get(pool), before, state)
        if target is not None:
            live[pool] = target
        held += _named(pool, (newest, before), current, state)
    awaited = None if wanted.live is None else wanted.live.version
    return DomainReleases(live=live, held=tuple(held), wanted=awaited)


def _named(
    pool: PoolName,
    candidates: tuple[Serving | None, ...],
    current: DomainReleases,
    state: PoolState,
) -> list[Serving]:
    """Adapters that may be asked for by name; without a report, those that could be before."""
    if state.pods is None:
        return [serving for serving in current.held if serving.pool == pool]
    return [
        serving
        for serving in candidates
        if serving is not None and serving.digest is not None and holders(serving, state.pods) > 0
    ]
