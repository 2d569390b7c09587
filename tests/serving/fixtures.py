"""Fixtures of the request path."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from stand_in_vllm import StandInVllm
from world import RequestPath, World, running_router, running_sync, serving


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def request_path(world: World) -> AsyncIterator[RequestPath]:
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        running_router(world.router_config(vllm_url, sync_url)) as (url, router),
        aiohttp.ClientSession() as session,
    ):
        yield RequestPath(world, vllm, sync, router, url, session)
