"""The router as a process of its own."""

import asyncio
import sys
from pathlib import Path

import aiohttp
from world import World, loaded, until

from serving.adapter_sync.sync import AdapterSync
from serving.router.config import RouterConfig


class RouterProcess:
    """A running router, and where it answers."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url

    @classmethod
    async def start(cls, config: RouterConfig, directory: Path, *wrapper: str) -> "RouterProcess":
        file = directory / "router.json"
        file.write_text(config.model_dump_json())
        process = await asyncio.create_subprocess_exec(
            *wrapper,
            sys.executable,
            "-m",
            "serving.router",
            "--config",
            str(file),
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        while line := (await process.stderr.readline()).decode():
            if "listening on " in line:
                return cls(process, line.split("listening on ")[1].strip())
        raise AssertionError("the router did not start")


async def started_router(
    world: World, vllm_url: str, sync_url: str, sync: AdapterSync
) -> tuple[RouterProcess, str]:
    """A router process with a live release."""
    key = world.domain("bank-ledger")
    world.go_live("bank-ledger", "v1.0")
    await until(lambda: loaded(sync, "bank-ledger", "v1.0"), "the adapter is loaded")
    router = await RouterProcess.start(world.router_config(vllm_url, sync_url), world.root)
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        headers = {"Authorization": f"Bearer {key}"}
        while True:
            async with session.get(f"{router.url}/v1/models", headers=headers) as answer:
                if answer.status == 200 and "bank-ledger-v1.0" in await answer.text():
                    return router, key
            await asyncio.sleep(0.05)
