"""The HTTP surface of adapter-sync, and how it starts and stops."""

import aiohttp
from aiohttp import web

from registry.store import open_store
from serving.adapter_sync.config import AdapterSyncConfig
from serving.adapter_sync.files import AdapterFiles
from serving.adapter_sync.metrics import render
from serving.adapter_sync.registry_view import RegistryView
from serving.adapter_sync.sync import AdapterSync
from serving.adapter_sync.vllm import VllmServer
from serving.http import serve_beside


async def serve(config: AdapterSyncConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        RegistryError: The registry's URI is not one.
        OSError: The port is taken, or the adapters' folder cannot be used.
    """
    async with aiohttp.ClientSession() as session:
        sync = build(config, session)
        await serve_beside(sync.run, application(sync), config.listen)


def build(config: AdapterSyncConfig, session: aiohttp.ClientSession) -> AdapterSync:
    """Put the parts together."""
    store = open_store(config.registry_uri)
    files = AdapterFiles(config.adapters_dir, store, config.pool)
    view = RegistryView(
        store=store,
        public_key=config.evaluation_public_key,
        pool=config.pool,
        include_candidates=config.include_candidates,
        last_good=config.adapters_dir / ".last-good.json",
    )
    view.load_last_good()
    server = VllmServer(session, config.vllm_url, config.request_timeout_s)
    return AdapterSync(config, view, files, server)


def application(sync: AdapterSync) -> web.Application:
    """GET /healthz, GET /status (see PodStatus) and GET /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def status(_: web.Request) -> web.Response:
        body = sync.status().model_dump_json()
        return web.Response(text=body, content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        body = render(sync.status())
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/status", status)
    app.router.add_get("/metrics", metrics)
    return app
