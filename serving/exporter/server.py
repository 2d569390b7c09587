"""The HTTP surface of the exporter, and how it starts and stops."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from registry.store import open_store
from serving.exporter.billing import BillingHealth, read_billing
from serving.exporter.config import ExporterConfig
from serving.exporter.gate import DomainGate, read_gate
from serving.exporter.metrics import render
from serving.http import serve_beside

_log = logging.getLogger(__name__)

_Facts = TypeVar("_Facts")


@dataclass
class _Source(Generic[_Facts]):
    """A store, and what was last read from it."""

    name: str
    read: Callable[[], _Facts]
    facts: _Facts
    read_at: float | None = None
    """Unix time of the last success."""

    def refresh(self) -> None:
        """Read again; what was known stays when the store cannot be read."""
        try:
            self.facts = self.read()
        except Exception:
            _log.exception("could not read the %s", self.name)
        else:
            self.read_at = time.time()


class Exporter:
    """Reads registry and warehouse and shows what it last read."""

    def __init__(self, config: ExporterConfig) -> None:
        """Open both stores.

        Raises:
            RegistryError: A URI is not one.
        """
        registry, warehouse = open_store(config.registry_uri), open_store(config.warehouse_uri)
        self._interval_s = config.interval_s
        self._gate: _Source[tuple[DomainGate, ...]] = _Source(
            "registry", lambda: read_gate(registry), ()
        )
        self._billing: _Source[BillingHealth | None] = _Source(
            "warehouse", lambda: read_billing(warehouse), None
        )

    def refresh(self) -> None:
        """Read both once."""
        self._gate.refresh()
        self._billing.refresh()

    async def follow(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(self._interval_s)

    def metrics(self) -> bytes:
        """The exposition text."""
        sources = (self._gate, self._billing)
        read = {source.name: at for source in sources if (at := source.read_at) is not None}
        return render(self._gate.facts, self._billing.facts, read)


def application(exporter: Exporter) -> web.Application:
    """GET /healthz and GET /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exporter.metrics(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    return app


async def serve(config: ExporterConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        RegistryError: A store's URI is not one.
        OSError: The port is taken.
    """
    exporter = Exporter(config)
    await serve_beside(exporter.follow, application(exporter), config.listen)
