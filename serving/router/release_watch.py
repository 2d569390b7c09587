"""Follows the pointers of the domains and the reports of the pools."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from registry.errors import RegistryError
from registry.manifest import Manifest
from registry.names import PoolName, Version
from registry.pointer import read_pointer
from registry.store import ObjectStore
from registry.verified import read_releasable
from serving.pod_status import PodStatus
from serving.router.config import PoolConfig
from serving.router.model_servers import Pools
from serving.router.releases import (
    PodReport,
    PoolState,
    Wanted,
    capacity_quorum,
    domain_releases,
)
from serving.router.resolution import NO_RELEASES, DomainReleases
from serving.router.tenancy import AnsweredBy

_log = logging.getLogger(__name__)

_BASE_MODELS = Wanted(None, None, base=True)
_REPORT_TIMEOUT = aiohttp.ClientTimeout(total=3)


class ReleaseWatch:
    """Holds the release map that requests are resolved against.

    The map is replaced whole, so a request sees one state. Registry and servers are looked at apart
    from each other, so that a slow one does not hide what the other says. Either may be away: what
    is known stays in use, and nothing moves on a guess.
    """

    def __init__(
        self,
        store: ObjectStore,
        public_key: Path,
        pools: Mapping[PoolName, PoolConfig],
        servers: Pools,
        session: aiohttp.ClientSession,
    ) -> None:
        self._store = store
        self._public_key = public_key
        self._pools = pools
        self._servers = servers
        self._session = session
        self._manifests: dict[tuple[str, Version], Manifest] = {}
        self._wanted: dict[str, Wanted] = {}
        self._problems: dict[str, str] = {}
        self._read = self._heard = False
        self.releases: Mapping[str, DomainReleases] = {}

    @property
    def polled(self) -> bool:
        """Whether the registry was read and the servers were asked."""
        return self._read and self._heard

    def of(self, domain: str) -> DomainReleases:
        """What can answer for a domain right now."""
        return self.releases.get(domain, NO_RELEASES)

    async def read_pointers(self, domains: Mapping[str, AnsweredBy]) -> None:
        """Look once at what every domain wants.

        Args:
            domains: By name, what may answer for it.
        """
        self._wanted = await asyncio.to_thread(self._read_wanted, domains)
        self._read = True
        self._apply()

    async def ask_servers(self) -> None:
        """Ask every server once what it holds."""
        # One server may serve several pools.
        places = {
            (address.adapter_sync_url, address.pod)
            for servers in self._servers.values()
            for address in servers.addresses
        }
        reports = dict(
            zip(places, await asyncio.gather(*(self._ask(*p) for p in places)), strict=True)
        )
        for servers in self._servers.values():
            servers.hear({pod: report for (_, pod), report in reports.items()})
        self._heard = True
        self._apply()

    def _apply(self) -> None:
        states = {pool: self._state(pool) for pool in self._pools}
        after = {
            domain: domain_releases(wanted, self.of(domain), states)
            for domain, wanted in self._wanted.items()
        }
        self._log_moves(after)
        self.releases = after

    def _state(self, pool: PoolName) -> PoolState:
        config, servers = self._pools[pool], self._servers[pool]
        quorum = capacity_quorum(
            config.quorum, len(servers.addresses), every=config.via is not None
        )
        return PoolState(config.served_base, quorum, servers.reports)

    def _read_wanted(self, domains: Mapping[str, AnsweredBy]) -> dict[str, Wanted]:
        wanted: dict[str, Wanted] = {}
        for domain, by in domains.items():
            if by == "base":
                wanted[domain] = _BASE_MODELS
                continue
            try:
                wanted[domain] = self._read_domain(domain, until=by == "base-until-release")
                self._problems.pop(domain, None)
            except (RegistryError, OSError) as error:
                self._report(domain, str(error))
                kept = self._wanted.get(domain, Wanted(None, None))
                # Base models that answered by another record answer no more.
                wanted[domain] = replace(kept, base=kept.base and by == "base-until-release")
        return wanted

    def _read_domain(self, domain: str, *, until: bool) -> Wanted:
        """What the pointer says; `until`: base models answer before the first release."""
        pointer = read_pointer(self._store, domain)
        if pointer.live is None:
            return Wanted(None, None, base=until)
        live = self._verified(domain, pointer.live, pointer.bundle_digest(pointer.live))
        previous = None
        if pointer.previous is not None:
            digest = pointer.bundle_digest(pointer.previous)
            try:
                previous = self._verified(domain, pointer.previous, digest)
            except RegistryError as error:
                _log.warning("%s: the release before the live one is not usable: %s", domain, error)
        return Wanted(live, previous, base=until and pointer.previous is None)

    def _verified(self, domain: str, version: Version, released: str | None) -> Manifest:
        manifest = self._manifests.get((domain, version))
        if manifest is None:
            manifest = read_releasable(self._store, domain, version, self._public_key)
            self._manifests[domain, version] = manifest
        if manifest.bundle_digest != released:
            raise RegistryError(
                f"{domain} {version}: the pointer released bundle {released}, "
                f"the registry holds {manifest.bundle_digest}"
            )
        return manifest

    async def _ask(self, url: str, pod: str) -> PodReport | None:
        try:
            async with self._session.get(f"{url}/status", timeout=_REPORT_TIMEOUT) as response:
                response.raise_for_status()
                status = PodStatus.model_validate_json(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            self._report(url, f"no report of {pod}: {type(error).__name__}: {error}")
            return None
        if status.pod != pod:
            # Addresses are given to other pods in time.
            self._report(url, f"pod {status.pod} answers at the address of {pod}: not used")
            return None
        self._problems.pop(url, None)
        return PodReport(status.loaded(), status.base, status.failed())

    def _report(self, subject: str, problem: str) -> None:
        if self._problems.get(subject) != problem:
            self._problems[subject] = problem
            _log.error("%s: %s", subject, problem)

    def _log_moves(self, after: Mapping[str, DomainReleases]) -> None:
        for domain, releases in after.items():
            before = self.of(domain).live
            for pool in self._pools:
                old, new = before.get(pool), releases.live.get(pool)
                if old != new:
                    _log.info(
                        "%s in pool %s: %s -> %s",
                        domain,
                        pool,
                        old.served_model if old else "nothing",
                        new.served_model if new else "nothing",
                    )
