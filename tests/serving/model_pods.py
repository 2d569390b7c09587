"""Model pods for the router: a stand-in model server each, with a real adapter-sync beside it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from stand_in_vllm import StandInVllm
from world import World, loaded, running_router, running_sync, until

from serving.adapter_sync.sync import AdapterSync
from serving.pool_servers import PoolServers, ServerAddress
from serving.router.server import Router


@dataclass
class ModelPod:
    """One pod. Its death cuts every connection, as that of a process does."""

    address: ServerAddress
    vllm: StandInVllm
    sync: AdapterSync
    runner: web.AppRunner

    async def die(self) -> None:
        """End at once."""
        assert self.runner.server is not None
        for site in list(self.runner.sites):
            await site.stop()
        for connection in self.runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def served(self) -> int:
        """How many requests for inference of the router came, probes of adapter-sync left out."""
        sent = ({name.lower() for name in headers} for headers, _ in self.vllm.requests)
        return sum("x-request-id" in names for names in sent)


@dataclass
class Pods:
    """Pods, and the folder that names them to the router."""

    world: World
    stack: contextlib.AsyncExitStack
    all: dict[str, ModelPod] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the servers of the pools are named."""
        return self.world.root / "pools"

    async def add(self, name: str, **faults: Any) -> ModelPod:
        """Start a pod; nothing names it yet."""
        vllm = StandInVllm(**faults)
        runner = web.AppRunner(vllm.application(), handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}"
        sync_url, sync = await self.stack.enter_async_context(
            running_sync(
                self.world, url, pod=name, adapters_dir=str(self.world.root / f"adapters-{name}")
            )
        )
        address = ServerAddress(pod=name, base_url=url, adapter_sync_url=sync_url)
        self.all[name] = ModelPod(address, vllm, sync, runner)
        return self.all[name]

    def name(self, *names: str) -> None:
        """Name the servers of the pool slm; those of llm are none."""
        self.folder.mkdir(exist_ok=True)
        servers = tuple(self.all[name].address for name in names)
        self.write("slm", PoolServers(servers=servers).model_dump_json())
        self.write("llm", PoolServers(servers=()).model_dump_json())

    def write(self, pool: str, text: str) -> None:
        """Replace a pool's file."""
        temporary = self.folder / f".{pool}.new"
        temporary.write_text(text)
        temporary.replace(self.folder / f"{pool}.json")

    async def live(self, domain: str, version: str, *names: str, **release: Any) -> str:
        """A domain whose release these pods hold; returns its key."""
        key = self.world.domain(domain)
        self.world.go_live(domain, version, **release)
        for name in names:
            await until(
                lambda pod=self.all[name]: loaded(pod.sync, domain, version),
                f"{name} holds {domain} {version}",
            )
        return key


@dataclass
class Routed:
    """A router before pods."""

    pods: Pods
    router: Router
    url: str
    session: aiohttp.ClientSession

    async def ask(self, key: str, **fields: Any) -> tuple[int, Any, Any]:
        """Ask; returns status, body and headers."""
        body = {"model": "slm", "messages": [{"role": "user", "content": "a b c"}]} | fields
        async with self.session.post(
            f"{self.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
        ) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(raw) if is_json else raw, answer.headers

    async def answers(self, key: str, served: str) -> None:
        """Wait until a release answers."""
        async with asyncio.timeout(20):
            while True:
                status, _, headers = await self.ask(key, max_tokens=1)
                if status == 200 and headers["X-Served-Model"] == served:
                    return
                await asyncio.sleep(0.02)

    async def metric(self, line: str) -> bool:
        """Whether a line is in the router's metrics."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            return line in (await answer.text()).splitlines()


@contextlib.asynccontextmanager
async def routed(pods: Pods, **changes: Any) -> AsyncIterator[Routed]:
    """A router that finds its servers in the folder; `slm` is what differs in that pool."""
    base = pods.world.router_config("http://unused", "http://unused")
    pools = json.loads(base.model_dump_json())["pools"]
    for pool in pools.values():
        pool["servers"] = []
    pools["slm"] |= changes.pop("slm", {})
    config = pods.world.router_config(
        "http://unused", "http://unused", pools=pools, servers_dir=str(pods.folder), **changes
    )
    async with running_router(config) as (url, router), aiohttp.ClientSession() as session:
        yield Routed(pods, router, url, session)
