"""The servers of a pool: who holds what, who is busy, who fails; and which one a request goes to.

A connection that fails counts against the server. A failed answer (5xx) counts against the served
model on that server alone, so that one domain's bad adapter takes no other domain's requests away.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from registry.names import PoolName
from serving.pool_servers import ServerAddress
from serving.router.breaker import Breaker
from serving.router.config import BreakerLimits, Via
from serving.router.releases import PodReport, holds
from serving.router.resolution import Serving

_log = logging.getLogger(__name__)


class ModelServer:
    """One server, or the gateway before a pool."""

    def __init__(self, base_url: str, pod: str | None, limits: BreakerLimits) -> None:
        self.base_url, self.pod = base_url, pod
        self.report: PodReport | None = None
        """What was last heard of it."""
        self.in_flight = 0
        self.last_chosen = 0
        self._limits = limits
        self._connection = Breaker(limits)
        self._models: dict[str, Breaker] = {}

    def admits(self, model: str, now: float) -> bool:
        """Whether a request for a served model may go to it."""
        own = self._models.get(model)
        return self._connection.admits(now) and (own is None or own.admits(now))

    def begin(self, model: str, turn: int) -> None:
        """Note that a request goes to it."""
        self.in_flight += 1
        self.last_chosen = turn
        self._connection.begin()
        if model in self._models:
            self._models[model].begin()

    def answered(self, model: str, status: int, now: float) -> bool:
        """Note the status of an answer; whether that opened a breaker."""
        self._connection.succeeded()
        if status < 500:
            self._models.pop(model, None)
            return False
        return self._models.setdefault(model, Breaker(self._limits)).failed(now)

    def lost(self, now: float) -> bool:
        """Note a connection that failed or broke off; whether that opened the breaker."""
        return self._connection.failed(now)

    def abandoned(self, model: str) -> None:
        """Note that a request ended before it had an answer."""
        self._connection.abandoned()
        if model in self._models:
            self._models[model].abandoned()


class Lease:
    """One request's place at one server, until the end of its answer."""

    def __init__(self, server: ModelServer, model: str, on_open: Callable[[], None]) -> None:
        self.server = server
        self._model = model
        self._on_open = on_open
        self._settled = False

    @property
    def pod(self) -> str | None:
        """Pod that answers, where the router knows it."""
        return self.server.pod

    @property
    def base_url(self) -> str:
        """Where the request goes."""
        return self.server.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.in_flight -= 1
        if not self._settled:
            self.server.abandoned(self._model)

    def answered(self, status: int) -> None:
        """Note the status of the answer."""
        self._settled = True
        if self.server.answered(self._model, status, time.monotonic()):
            _log.error(
                "%s fails with HTTP status %d for %s: no more of its requests for a while",
                self.pod or self.base_url,
                status,
                self._model,
            )
            self._on_open()

    def lost(self) -> None:
        """Note that the connection failed, or broke off."""
        self._settled = True
        if self.server.lost(time.monotonic()):
            _log.error(
                "%s cannot be reached: no more requests for a while", self.pod or self.base_url
            )
            self._on_open()


class ModelServers:
    """The servers of one pool. They change while requests are in flight, which go on."""

    def __init__(self, limits: BreakerLimits, via: Via | None, on_open: Callable[[], None]) -> None:
        self._limits = limits
        self._gateway = None if via is None else ModelServer(via.url, None, limits)
        self._on_open = on_open
        self._turns = itertools.count(1)
        self._servers: dict[str, tuple[ServerAddress, ModelServer]] = {}

    def replace(self, addresses: Iterable[ServerAddress]) -> None:
        """Take over which servers there are; what is known of one that stays is kept."""
        before = self._servers
        self._servers = {
            address.pod: (
                before[address.pod]
                if address.pod in before and before[address.pod][0] == address
                else (address, ModelServer(address.base_url, address.pod, self._limits))
            )
            for address in addresses
        }

    @property
    def addresses(self) -> list[ServerAddress]:
        """Where the servers are."""
        return [address for address, _ in self._servers.values()]

    @property
    def reports(self) -> list[PodReport]:
        """What was last heard of each server; one that was never heard of is left out."""
        return [server.report for server in self._all() if server.report is not None]

    def hear(self, reports: Mapping[str, PodReport | None]) -> None:
        """Note what servers say of themselves, by pod; None where one said nothing this time."""
        for address, server in self._servers.values():
            said = reports.get(address.pod)
            if said is not None:
                server.report = said
            elif server.report is not None:
                server.report = server.report.aged()

    def hold(self, target: Serving) -> bool:
        """Whether a server holds a release."""
        return any(_holds(server, target) for server in self._all())

    def choose(self, target: Serving, *, without: Lease | None = None) -> Lease | None:
        """A place at the least busy holder of a release; None where none takes requests.

        Args:
            target: The release.
            without: A place at a server that is left out.
        """
        now = time.monotonic()
        ready = [
            server
            for server in self._candidates(target)
            if server.admits(target.served_model, now)
            and (without is None or without.server is not server)
        ]
        if not ready:
            return None
        # Among equally busy ones the turn goes round.
        server = min(ready, key=lambda each: (each.in_flight, each.last_chosen))
        server.begin(target.served_model, next(self._turns))
        return Lease(server, target.served_model, self._on_open)

    def _candidates(self, target: Serving) -> list[ModelServer]:
        holders = [server for server in self._all() if _holds(server, target)]
        if self._gateway is not None:
            return [self._gateway] if holders else []
        return holders

    def _all(self) -> Iterable[ModelServer]:
        return (server for _, server in self._servers.values())


def _holds(server: ModelServer, target: Serving) -> bool:
    return server.report is not None and holds(target, server.report)


Pools = Mapping[PoolName, ModelServers]
