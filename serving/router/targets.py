"""The release that answers a request, now or when a server has it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry.names import PoolName
from serving.router.config import Limits
from serving.router.errors import Refusal, RefusedError
from serving.router.model_servers import Pools
from serving.router.resolution import (
    Asked,
    DomainReleases,
    PoolAliases,
    Serving,
    not_held,
    resolve,
)
from serving.router.tenancy import Caller


class Targets:
    """Finds releases. A bounded number of requests waits where a pool has no server for them yet.

    So a pool that is scaled to zero has something to be scaled up by: how many wait for it.
    """

    def __init__(
        self,
        limits: Limits,
        aliases: PoolAliases,
        releases: Callable[[str], DomainReleases],
        pools: Pools,
        *,
        on_waiting: Callable[[PoolName, int], None],
    ) -> None:
        self._limits = limits
        self._aliases = aliases
        self._releases = releases
        self._pools = pools
        self._on_waiting = on_waiting
        self._waiting: Counter[PoolName] = Counter()
        self._looked = asyncio.Event()
        self._closed = False

    async def find(self, caller: Caller, asked: Asked) -> Serving:
        """The release that a request is pinned to from here on.

        Raises:
            RefusedError: There is none, and none came in time.
        """
        found = self._find(caller, asked)
        if isinstance(found, Refusal) and found.coming is not None and self._has_room():
            with self._counted(found.coming):
                found = await self._wait(caller, asked, found)
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found

    def looked(self) -> None:
        """Let those who wait look again: releases or servers may have changed."""
        self._looked.set()
        self._looked = asyncio.Event()

    def close(self) -> None:
        """Let nobody wait any more: the router ends."""
        self._closed = True
        self.looked()

    def _find(self, caller: Caller, asked: Asked) -> Serving | Refusal:
        found = resolve(caller, asked, self._aliases, self._releases(caller.tenant.domain))
        if isinstance(found, Refusal) or self._pools[found.pool].hold(found):
            return found
        return not_held(found)

    async def _wait(self, caller: Caller, asked: Asked, found: Refusal) -> Serving | Refusal:
        """Look again whenever something may have changed; the last refusal when time is up."""
        outcome: Serving | Refusal = found
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.longest_wait_s):
                while isinstance(outcome, Refusal) and outcome.coming and not self._closed:
                    await self._looked.wait()
                    outcome = self._find(caller, asked)
        return outcome

    def _has_room(self) -> bool:
        return not self._closed and self._waiting.total() < self._limits.max_waiting

    @contextmanager
    def _counted(self, pool: PoolName) -> Iterator[None]:
        self._count(pool, 1)
        try:
            yield
        finally:
            self._count(pool, -1)

    def _count(self, pool: PoolName, by: int) -> None:
        self._waiting[pool] += by
        self._on_waiting(pool, self._waiting[pool])
