"""Follows the cluster in threads, and shows how it goes."""

import asyncio
import threading

import pydantic_core
from aiohttp import web
from kubernetes import client

from serving.cluster_watch.config import ClusterWatchConfig
from serving.cluster_watch.endpoints import selector
from serving.cluster_watch.files import Folder
from serving.cluster_watch.follow import Follower
from serving.cluster_watch.metrics import WatchMetrics
from serving.cluster_watch.mirror import PoolMirror, TenancyMirror
from serving.cluster_watch.records import SELECTOR
from serving.http import serve_beside
from serving.kubernetes_api import connect


def followers(config: ClusterWatchConfig, metrics: WatchMetrics) -> tuple[Follower, ...]:
    """Tenancy records and the servers of the pools.

    Raises:
        SettingsError: This is no pod of a cluster, or there is no such kubeconfig.
        OSError: A folder cannot be made.
    """
    api = connect(config.kubeconfig)
    tenants = TenancyMirror(Folder(config.domains_dir), metrics)
    pools = PoolMirror(Folder(config.pools_dir), config.pools, metrics)
    return (
        Follower(
            "tenancy records",
            client.CoreV1Api(api).list_namespaced_config_map,
            SELECTOR,
            tenants.apply,
            settings=config,
            metrics=metrics,
        ),
        Follower(
            "endpoint slices",
            client.DiscoveryV1Api(api).list_namespaced_endpoint_slice,
            selector(config.pools.values()),
            pools.apply,
            settings=config,
            metrics=metrics,
        ),
    )


def application(following: tuple[Follower, ...], metrics: WatchMetrics) -> web.Application:
    """GET /healthz, GET /readyz (everything was listed once) and GET /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        ready = all(each.listed for each in following)
        return web.Response(
            body=pydantic_core.to_json({"ready": ready}),
            status=200 if ready else 503,
            content_type="application/json",
        )

    async def render(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", render)
    return app


async def serve(config: ClusterWatchConfig) -> None:
    """Follow the cluster until SIGTERM or SIGINT. The files stay.

    Raises:
        SettingsError: This is no pod of a cluster, or there is no such kubeconfig.
        OSError: A folder cannot be made, or the port is taken.
    """
    metrics = WatchMetrics()
    following = followers(config, metrics)
    for each in following:
        # A watch waits for the API: the process does not wait for the watch when it ends.
        threading.Thread(target=each.run, daemon=True).start()
    await serve_beside(_forever, application(following, metrics), config.listen)


async def _forever() -> None:
    await asyncio.Event().wait()
