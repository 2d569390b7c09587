"""When an alias moves: the rule over what the pointer wants and what the servers hold. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from registry.manifest import Manifest
from registry.names import PoolName, served_name
from serving.router.resolution import DomainReleases, Serving

Adapters = frozenset[tuple[str, str]]
"""Served name and adapter digest of each adapter."""


@dataclass(frozen=True)
class PodReport:
    """What one model server holds, by its adapter-sync."""

    adapters: Adapters
    """Every loaded adapter."""
    base: bool = True
    """Whether the server answers at all."""
    failed: Adapters = frozenset()
    """Adapters that it could not load."""
    fresh: bool = True
    """Whether it is of the last look. An older one says where requests may go, and moves none."""

    def aged(self) -> Self:
        """The report after a look that brought none."""
        return replace(self, fresh=False)


@dataclass(frozen=True)
class PoolState:
    """What is known of a pool."""

    served_base: str
    quorum: int
    pods: Sequence[PodReport]
    """Of every server that was ever heard of and is still there."""


@dataclass(frozen=True)
class Wanted:
    """What the pointer of a domain says, verified."""

    live: Manifest | None
    previous: Manifest | None
    base: bool = False
    """Whether the base models count as what was before the first release."""


def serving_of(manifest: Manifest, pool: PoolName, served_base: str) -> Serving:
    """How a pool serves a release: by its adapter, or by the base model where it has none."""
    adapter = manifest.adapter(pool)
    if adapter is None:
        return Serving(pool, served_base, manifest.version, None)
    name = served_name(manifest.domain, manifest.version)
    return Serving(pool, name, manifest.version, adapter.adapter_digest)


def holds(serving: Serving, pod: PodReport) -> bool:
    """Whether a server can answer for a release; every server that is up holds the base."""
    if serving.digest is None:
        return pod.base
    return (serving.served_model, serving.digest) in pod.adapters


def holders(serving: Serving, pods: Sequence[PodReport]) -> int:
    """How many servers can answer for a release."""
    return sum(holds(serving, pod) for pod in pods)


def capacity_quorum(quorum: int, servers: int, *, every: bool) -> int:
    """How many servers must hold a release, of those that are there.

    Args:
        quorum: What the pool is configured with; a smaller pool needs all it has.
        servers: How many there are.
        every: Whether requests may reach any of them, whatever the router wants.
    """
    return max(1, servers if every else min(quorum, servers))


def alias_target(
    wanted: Serving | None, current: Serving | None, previous: Serving | None, state: PoolState
) -> Serving | None:
    """Where the alias leads after this look at the pool.

    The wanted release takes over when a quorum of servers says now that it holds it. Until then the
    one that answers now goes on, as long as one server holds it; then the release before; then the
    wanted one, wherever it is. A domain whose pointer wants nothing has no alias.
    """
    if wanted is None:
        return None
    fresh = [pod for pod in state.pods if pod.fresh]
    if holders(wanted, fresh) >= state.quorum:
        return wanted
    for fallback in (current, previous, wanted):
        if fallback is not None and holders(fallback, state.pods) > 0:
            return fallback
    return None


def may_come(wanted: Serving, pods: Sequence[PodReport]) -> bool:
    """Whether waiting can help: there is no server yet, or one that may still load the release."""
    named = (wanted.served_model, wanted.digest)
    return not pods or any(named not in pod.failed for pod in pods)


def domain_releases(
    wanted: Wanted, current: DomainReleases, pools: Mapping[PoolName, PoolState]
) -> DomainReleases:
    """The next release map of one domain.

    Where base models may answer before the first release, they take the place of the release before
    it: they go on until a quorum holds the first one.
    """
    live: dict[PoolName, Serving] = {}
    awaited: dict[PoolName, Serving] = {}
    held: list[Serving] = []
    for pool, state in pools.items():
        base = Serving(pool, state.served_base, None, None) if wanted.base else None
        newest, before = (
            base if manifest is None else serving_of(manifest, pool, state.served_base)
            for manifest in (wanted.live, wanted.previous)
        )
        now = current.live.get(pool)
        if now is not None and now.version is None:
            now = base
        target = alias_target(newest, now, before, state)
        if target is not None:
            live[pool] = target
        elif newest is not None and may_come(newest, state.pods):
            awaited[pool] = newest
        held += _named((newest, before), state)
    version = None if wanted.live is None else wanted.live.version
    return DomainReleases(live=live, held=tuple(held), wanted=version, awaited=awaited)


def _named(candidates: tuple[Serving | None, ...], state: PoolState) -> list[Serving]:
    """Adapters that may be asked for by name; in a pool without servers, those that will be."""
    return [
        serving
        for serving in candidates
        if serving is not None
        and serving.digest is not None
        and (not state.pods or holders(serving, state.pods) > 0)
    ]
