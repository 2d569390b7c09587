"""The HTTP surface of the router, and how it starts and stops."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
import pydantic_core
from aiohttp import web

from registry.names import PoolName
from registry.store import open_store
from serving.http import listening, stop_on_signals
from serving.ledger import LedgerWriter
from serving.router.admission import InFlight, admit, authenticate
from serving.router.body import forwarded
from serving.router.config import BreakerLimits, PoolConfig, RouterConfig
from serving.router.errors import Refusal, RefusedError
from serving.router.gateway_keys import GatewayKeys
from serving.router.metering import Meter
from serving.router.metrics import RouterMetrics
from serving.router.model_servers import ModelServers
from serving.router.relay import Relay, Route
from serving.router.release_watch import ReleaseWatch
from serving.router.resolution import DomainReleases, PoolAliases, visible_models
from serving.router.server_folder import ServerFolder
from serving.router.targets import Targets
from serving.router.tenancy import AnsweredBy
from serving.router.tenant_folder import TenantFolder
from serving.router.upstream import Upstream
from serving.tracing.tracer import Tracer

_log = logging.getLogger(__name__)

_OPERATIONS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Router:
    """One router process."""

    def __init__(
        self,
        config: RouterConfig,
        *,
        session: aiohttp.ClientSession,
        ledger: LedgerWriter,
        metrics: RouterMetrics,
        tracer: Tracer | None,
    ) -> None:
        limits = config.limits
        self._config = config
        self._metrics = metrics
        self._ledger = ledger
        self._in_flight = InFlight(limits, metrics.in_flight.set)
        self._aliases = _aliases(config)
        self._folder = TenantFolder(config.domains_dir)
        self._servers = {
            pool: _servers(pool, settings, config.breaker, metrics)
            for pool, settings in config.pools.items()
        }
        self._server_folder = (
            None if config.servers_dir is None else ServerFolder(config.servers_dir)
        )
        self._watch = ReleaseWatch(
            open_store(config.registry_uri),
            config.evaluation_public_key,
            config.pools,
            self._servers,
            session,
        )
        self._targets = Targets(
            limits, self._aliases, self._watch.of, self._servers, on_waiting=metrics.waits
        )
        self._gateway_keys = {
            pool: GatewayKeys(settings.via) for pool, settings in config.pools.items()
        }
        self._relay = Relay(
            Upstream(session, connect_timeout_s=limits.connect_timeout_s),
            Meter(
                ledger,
                metrics,
                tracer,
                base_models={pool: settings.served_base for pool, settings in config.pools.items()},
            ),
            request_timeout_s=limits.request_timeout_s,
            on_retry=lambda pool: metrics.retries.labels(pool).inc(),
        )
        self._folder_problem = ""
        self.draining = False

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(
            client_max_size=self._config.limits.max_body_bytes, middlewares=[self._refusals]
        )
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._render_metrics)
        app.router.add_get("/v1/models", self._models)
        for path in _OPERATIONS:
            app.router.add_post(path, self._inference)
        app.on_response_prepare.append(self._part_while_draining)
        return app

    def releases_of(self, domain: str) -> DomainReleases:
        """What can answer for a domain right now."""
        return self._watch.of(domain)

    def knows(self, domain: str) -> bool:
        """Whether the domain has a usable tenancy record."""
        return self._folder.directory.by_name(domain) is not None

    def drain(self) -> None:
        """Take no more requests than those that come before load balancers notice."""
        self.draining = True
        self._targets.close()

    async def refresh(self) -> None:
        """Read records, pointers and reports once."""
        await self._refresh_servers()
        await self._refresh_domains()

    async def follow(self) -> None:
        """Keep servers, records and releases current until cancelled."""
        await asyncio.gather(
            self._repeat(self._refresh_servers), self._repeat(self._refresh_domains)
        )

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await look()
            except Exception:
                # What is known stays in use; the next look comes with the next interval.
                _log.exception("could not refresh servers or releases")
            await asyncio.sleep(self._config.poll_interval_s)

    async def _refresh_servers(self) -> None:
        if self._server_folder is not None:
            for pool, servers in self._servers.items():
                changed = self._server_folder.changed(pool)
                if changed is not None:
                    servers.replace(changed)
        await self._watch.ask_servers()
        self._targets.looked()

    async def _refresh_domains(self) -> None:
        self._refresh_tenants()
        await self._watch.read_pointers(self._domains())
        self._targets.looked()

    def _refresh_tenants(self) -> None:
        problem = ""
        try:
            self._folder.refresh()
        except OSError as error:
            problem = error.strerror or type(error).__name__
        # Said once, not at each look: the folder is absent until the first domain stack is up.
        if problem and problem != self._folder_problem:
            _log.warning("tenancy records in %s: %s", self._config.domains_dir, problem)
        self._folder_problem = problem

    def _domains(self) -> dict[str, AnsweredBy]:
        return {each.domain: each.answered_by for each in self._folder.directory.tenants}

    @web.middleware
    async def _refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as error:
            refusal = error.refusal
        except web.HTTPException as error:
            refusal = Refusal(error.status, "no_such_route", f"{request.method} {request.path}")
        self._metrics.requests.labels("", "", "", "", str(refusal.status)).inc()
        return _json(refusal.body(), status=refusal.status, headers=refusal.headers)

    async def _inference(self, request: web.Request) -> web.StreamResponse:
        caller = authenticate(request, self._folder.directory)
        with self._in_flight.slot(caller.tenant.domain):
            admitted = await admit(
                request,
                caller,
                self._config.limits,
                self._targets,
                operation=_OPERATIONS[request.path],
            )
            target = admitted.exchange.target
            via = self._config.pools[target.pool].via
            provider = None if via is None else via.provider
            return await self._relay.serve(
                request,
                admitted.exchange,
                Route(
                    self._servers[target.pool],
                    request.path,
                    self._gateway_keys[target.pool].headers(caller.tenant.customer),
                ),
                forwarded(admitted.body, target, caller.tenant.domain, provider=provider),
                keep_usage_chunk=admitted.body.wants_usage,
            )

    async def _models(self, request: web.Request) -> web.Response:
        tenant = authenticate(request, self._folder.directory).tenant
        visible = visible_models(tenant, self._aliases, self._watch.of(tenant.domain))
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": tenant.domain, "root": served}
            for name, served in visible
        ]
        return _json({"object": "list", "data": data})

    async def _part_while_draining(self, _: web.Request, response: web.StreamResponse) -> None:
        """Have a proxy send its next request on another connection, which finds another router.

        It would reuse this one until the end, and lose the request that meets it.
        """
        if self.draining:
            response.force_close()
            # Too late for aiohttp, which has made the headers already.
            response.headers["Connection"] = "close"

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = [
            reason
            for reason, holds in (
                ("draining", self.draining),
                ("releases not read yet", not self._watch.polled),
                ("ledger cannot be written", not self._ledger.healthy),
            )
            if holds
        ]
        body = {"ready": not reasons, "reasons": reasons, "records": self._folder.problems}
        return _json(body, status=503 if reasons else 200)

    async def _render_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), content_type="text/plain", charset="utf-8")


async def serve(config: RouterConfig) -> None:
    """Run until SIGTERM or SIGINT, then finish what is in flight.

    Raises:
        SettingsError: A secret of the tracing or gateway configuration is missing.
        LedgerError: The ledger cannot be written.
        OSError: The port is taken.
    """
    stop = stop_on_signals()
    async with contextlib.AsyncExitStack() as stack:
        router, _ = await start(config, stack)
        await stop.wait()
        router.drain()
        _log.info("draining")
        await asyncio.sleep(config.limits.drain_delay_s)
    _log.info("stopped")


async def start(config: RouterConfig, stack: contextlib.AsyncExitStack) -> tuple[Router, str]:
    """Bring everything up; the stack takes it down in reverse order. Also gives the URL.

    Raises:
        SettingsError: A secret of the tracing or gateway configuration is missing.
        LedgerError: The ledger cannot be written.
        OSError: The port is taken.
    """
    metrics = RouterMetrics()
    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
    )
    tracer = _tracer(config, metrics, stack)
    ledger = _ledger(config, metrics, stack)
    router = Router(config, session=session, ledger=ledger, metrics=metrics, tracer=tracer)
    following = asyncio.create_task(router.follow())
    stack.callback(following.cancel)
    served = listening(
        router.application(),
        config.listen,
        # A client that goes away cancels its handler, and with it the model server's work.
        handler_cancellation=True,
        shutdown_timeout_s=config.limits.drain_timeout_s,
    )
    return router, await stack.enter_async_context(served)


def _tracer(
    config: RouterConfig, metrics: RouterMetrics, stack: contextlib.AsyncExitStack
) -> Tracer | None:
    if config.tracing is None:
        return None
    tracer = Tracer(
        config.tracing,
        on_dropped=metrics.dropped_traces,
        on_withheld=metrics.trace_contents_withheld.inc,
    )
    stack.push_async_callback(asyncio.to_thread, tracer.close)
    return tracer


def _ledger(
    config: RouterConfig, metrics: RouterMetrics, stack: contextlib.AsyncExitStack
) -> LedgerWriter:
    ledger = LedgerWriter(config.ledger_dir, on_commit=metrics.committed)
    metrics.ledger_healthy.set_function(lambda: float(ledger.healthy))
    stack.push_async_callback(ledger.close)
    if ledger.repaired_bytes:
        _log.warning("cut %d torn bytes off the ledger's end", ledger.repaired_bytes)
    return ledger


def _servers(
    pool: PoolName, settings: PoolConfig, limits: BreakerLimits, metrics: RouterMetrics
) -> ModelServers:
    servers = ModelServers(limits, settings.via, metrics.breakers_opened.labels(pool).inc)
    servers.replace(settings.servers)
    return servers


def _aliases(config: RouterConfig) -> PoolAliases:
    aliases: dict[str, PoolName] = {
        alias: pool for pool, settings in config.pools.items() for alias in settings.aliases
    }
    return PoolAliases(aliases)


def _json(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=pydantic_core.to_json(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )
