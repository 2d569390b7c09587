"""Stands in for a Kubernetes API server: ConfigMaps and EndpointSlices, listed and watched.

Answers in the shape of the API reference. Unlike the real one it asks for no token, knows one
namespace (`agentic-serving`) and ignores selectors, keeps no history (a watch starts with what
changes from then on, whatever version it names), never pages, sends no bookmarks, and ends a watch
when the test says so.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

Json = dict[str, Any]
CONFIG_MAPS = "/api/v1/namespaces/agentic-serving/configmaps"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/agentic-serving/endpointslices"


def config_map(name: str, data: dict[str, str]) -> Json:
    """A ConfigMap with the label of tenancy records."""
    labels = {"custom-model-pipeline/tenancy": "true"}
    return {"metadata": {"name": name, "labels": labels}, "data": data}


def slice_of(
    service: str, pods: dict[str, str], *, name: str | None = None, **changes: Any
) -> Json:
    """An EndpointSlice whose endpoints are ready.

    Args:
        service: Its headless Service.
        pods: Address by name of each pod.
        name: Of the slice.
        changes: Fields that differ.
    """
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": "agentic-serving"},
        }
        for pod, address in pods.items()
    ]
    ports = [
        {"name": "http", "port": 8000, "protocol": "TCP"},
        {"name": "adapter-sync", "port": 8090, "protocol": "TCP"},
    ]
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": name or f"{service}-x7k2p", "labels": labels}
    made = {
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }
    return made | changes


class StandInWatched:
    """The two kinds, by the path of their list."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {CONFIG_MAPS: {}, SLICES: {}}
        self.broken = False
        self.lists = 0
        self.selectors: set[str] = set()
        self._version = 100
        self._watches: dict[str, list[asyncio.Queue[Json | None]]] = {CONFIG_MAPS: [], SLICES: []}

    def application(self) -> web.Application:
        """The API."""
        app = web.Application()
        for path in self.objects:
            app.router.add_get(path, self._get)
        return app

    def put(self, path: str, each: Json) -> None:
        """Create an object, or replace it."""
        name = each["metadata"]["name"]
        kind = "MODIFIED" if name in self.objects[path] else "ADDED"
        self.objects[path][name] = each
        self._tell(path, kind, each)

    def delete(self, path: str, name: str) -> None:
        """Delete an object."""
        self._tell(path, "DELETED", self.objects[path].pop(name))

    def end_watches(self) -> None:
        """End every watch, as the time limit or a lost connection does."""
        for queues in self._watches.values():
            for queue in queues:
                queue.put_nowait(None)

    def watches(self) -> int:
        """How many watches there are."""
        return sum(len(queues) for queues in self._watches.values())

    def _tell(self, path: str, kind: str, each: Json) -> None:
        self._version += 1
        metadata = {**each["metadata"], "resourceVersion": str(self._version)}
        for queue in self._watches[path]:
            queue.put_nowait({"type": kind, "object": {**each, "metadata": metadata}})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.selectors.add(request.query["labelSelector"])
        if self.broken:
            status = {"kind": "Status", "status": "Failure", "code": 500, "message": "etcd"}
            return web.json_response(status, status=500)
        if request.query.get("watch", "").lower() == "true":
            return await self._watch(request)
        self.lists += 1
        items = list(self.objects[request.path].values())
        return web.json_response(
            {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        self._watches[request.path].append(queue)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
            await response.write_eof()
        finally:
            self._watches[request.path].remove(queue)
        return response
