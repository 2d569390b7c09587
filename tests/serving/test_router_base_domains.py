"""Domains that base models answer for: those that train nothing, and those before a first release.

The model server is a stand-in whose base models answer alike; which one was asked is in what it
received.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_process import RouterProcess
from stand_in_vllm import StandInVllm
from world import GUIDE_70B, RequestPath, World, live, loaded, running_sync, serving, until

from registry import layout
from registry.names import PoolName
from serving.ledger import Event, Intent, read_events
from serving.ledger.reader import read_segment
from serving.router.releases import PodReport, PoolState, Wanted, domain_releases
from serving.router.resolution import NO_RELEASES

BASE = {"answered_by": "base", "pools": ["slm", "llm"]}
UNTIL = {"answered_by": "base-until-release", "pools": ["slm", "llm"]}


async def based(path: RequestPath, domain: str, **record: Any) -> str:
    """A domain that base models answer for; returns its key."""
    key = path.world.domain(domain, **record)
    await until(lambda: bool(path.router.releases_of(domain).live), "the base models answer")
    return key


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("slm", "llama-8b"),
        ("llama-8b", "llama-8b"),
        ("meta-llama/Llama-3.3-8B-Instruct", "llama-8b"),
        ("llm", "glm5"),
        ("glm5", "glm5"),
        (GUIDE_70B, "glm5"),
    ],
)
async def test_every_name_of_a_pool_means_its_base_model(
    request_path: RequestPath, model: str, served: str
) -> None:
    key = await based(request_path, "stock-order", **BASE)
    status, body, headers = await request_path.ask(key, model=model)
    assert status == 200, body
    assert request_path.vllm.requests[-1][1]["model"] == served
    assert headers["X-Served-Model"] == served
    assert "X-Release-Version" not in headers


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"model": "stock-order-v1.0"}, 404, "model_not_found"),
        ({"model": "bank-ledger-v1.0"}, 404, "model_not_found"),
        ({"model": "slm", "lora_name": "stock-order"}, 404, "model_not_found"),
        ({"model": "slm", "lora_name": "stock-order-v1.0"}, 404, "model_not_found"),
        ({"model": "slm", "lora_name": "bank-ledger"}, 400, "names_disagree"),
        ({"model": "nobody"}, 404, "model_not_found"),
    ],
)
async def test_no_adapter_answers_for_it_whatever_the_registry_says(
    request_path: RequestPath, asked: dict[str, str], status: int, code: str
) -> None:
    await live(request_path, "bank-ledger", "v1.0")
    # Its adapter is live in the registry and on the server: the record decides.
    request_path.world.go_live("stock-order", "v1.0")
    await until(lambda: loaded(request_path.sync, "stock-order", "v1.0"), "the adapter is loaded")
    key = await based(request_path, "stock-order", **BASE)
    before = len(request_path.vllm.requests)
    answer, body, _ = await request_path.ask(key, **asked)
    assert (answer, body["error"]["code"]) == (status, code)
    assert len(request_path.vllm.requests) == before
    answer, _, headers = await request_path.ask(key, model="slm")
    assert (answer, headers["X-Served-Model"]) == (200, "llama-8b")


async def test_a_pool_that_the_record_does_not_name_is_refused(request_path: RequestPath) -> None:
    key = await based(request_path, "stock-order", **{**BASE, "pools": ["llm"]})
    status, body, _ = await request_path.ask(key, model="slm")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_models_lists_the_names_of_its_pools(request_path: RequestPath) -> None:
    key = await based(request_path, "stock-order", **BASE)
    headers = {"Authorization": f"Bearer {key}"}
    async with request_path.session.get(f"{request_path.url}/v1/models", headers=headers) as answer:
        listed = {each["id"]: each["root"] for each in (await answer.json())["data"]}
    slm = ("slm", "llama-8b", "meta-llama/Llama-3.3-8B-Instruct")
    llm = ("llm", "glm5", GUIDE_70B)
    assert listed == dict.fromkeys(slm, "llama-8b") | dict.fromkeys(llm, "glm5")


async def test_the_ledger_has_its_tokens_and_no_version(request_path: RequestPath) -> None:
    key = await based(request_path, "stock-order", **BASE)
    _, body, headers = await request_path.ask(key, model="llm")
    ledger = request_path.world.ledger_dir
    (event,) = read_events(ledger).events
    assert (event.request_id, event.served_model, event.pool, event.version) == (
        headers["X-Request-Id"],
        "glm5",
        "llm",
        None,
    )
    assert (event.input_tokens, event.output_tokens) == (
        body["usage"]["prompt_tokens"],
        body["usage"]["completion_tokens"],
    )


async def test_a_registry_that_cannot_be_read_stops_no_domain_without_releases(
    request_path: RequestPath,
) -> None:
    for domain in ("stock-order", "insurance"):
        request_path.world.store.put(layout.pointer(domain), b"damaged")
    unsure = request_path.world.domain("insurance", **UNTIL)
    key = await based(request_path, "stock-order", **BASE)
    await until(lambda: request_path.router.knows("insurance"), "the record is read")
    await request_path.router.refresh()
    assert (await request_path.ask(key))[0] == 200
    # Whether it has a release is not known: a guess could be the wrong model.
    status, body, _ = await request_path.ask(unsure)
    assert (status, body["error"]["code"]) == (503, "no_live_release")


async def test_the_first_release_takes_over_from_the_base_without_a_gap(
    request_path: RequestPath,
) -> None:
    key = await based(request_path, "stock-order", **UNTIL)
    manifest = request_path.world.publish("stock-order", "v1.0")
    served: list[str] = []

    async def ask_on(name: str) -> None:
        while not served or served[-1] != name:
            status, body, headers = await request_path.ask(key, max_tokens=1)
            assert status == 200, body
            served.append(headers["X-Served-Model"])

    await ask_on("llama-8b")
    status, body, _ = await request_path.ask(key, lora_name="stock-order")
    assert (status, body["error"]["code"]) == (503, "no_live_release")
    request_path.world.evaluate(manifest)
    request_path.world.point(manifest)
    await ask_on("stock-order-v1.0")
    assert set(served) == {"llama-8b", "stock-order-v1.0"}
    assert sorted(served) == served, "it went back to the base"


async def test_a_record_that_wants_a_release_again_is_refused_without_one(
    request_path: RequestPath,
) -> None:
    key = await based(request_path, "stock-order", **BASE)
    assert (await request_path.ask(key))[0] == 200
    request_path.world.domain("stock-order", pools=["slm", "llm"])
    await until(
        lambda: not request_path.router.releases_of("stock-order").live, "no base model answers"
    )
    status, body, _ = await request_path.ask(key)
    assert (status, body["error"]["code"]) == (503, "no_live_release")


async def test_no_server_is_said_as_that(request_path: RequestPath) -> None:
    key = await based(request_path, "stock-order", **BASE)
    request_path.router._servers["llm"].replace(())
    await request_path.router.refresh()
    status, body, headers = await request_path.ask(key, model="llm")
    assert (status, body["error"]["code"]) == (503, "pool_not_up")
    assert headers["Retry-After"]


@given(
    reports=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4),
    quorum=st.integers(1, 4),
)
def test_base_models_answer_as_soon_as_a_server_does(
    reports: list[tuple[bool, bool]], quorum: int
) -> None:
    pods = [PodReport(frozenset(), base=up, fresh=fresh) for up, fresh in reports]
    pools: dict[PoolName, PoolState] = {"slm": PoolState("llama-8b", quorum, pods)}
    found = domain_releases(Wanted(None, None, base=True), NO_RELEASES, pools)
    assert ("slm" in found.live) == any(up for up, _ in reports)
    assert all(each.version is None and each.digest is None for each in found.live.values())
    assert not domain_releases(Wanted(None, None), found, pools).live


async def test_a_router_process_serves_and_books_a_domain_without_adapters(tmp_path: Path) -> None:
    world, vllm = World(tmp_path), StandInVllm()
    key = world.domain("stock-order", **BASE)
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, _),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
    ):
        router = await RouterProcess.start(world.router_config(vllm_url, sync_url), tmp_path)
        try:
            await _ready(session, router.url)
            answers = [await _stream(session, router.url, model) for model in ("slm", "llm")]
        finally:
            router.process.terminate()
            assert await router.process.wait() == 0
    assert [served for served, _ in answers] == ["llama-8b", "glm5"]
    records = [
        each for path in sorted(world.ledger_dir.glob("segment-*")) for each in read_segment(path)
    ]
    for kind in (Intent, Event):
        mine = [each for each in records if isinstance(each, kind)]
        assert [(each.served_model, each.pool, each.version) for each in mine] == [
            ("llama-8b", "slm", None),
            ("glm5", "llm", None),
        ]
    events = [each for each in records if isinstance(each, Event)]
    assert [each.output_tokens for each in events] == [tokens for _, tokens in answers]


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _stream(session: aiohttp.ClientSession, url: str, model: str) -> tuple[str, int]:
    """Ask for a stream; the served model, and how many tokens came."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "one two three"}],
        "stream": True,
    }
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        lines = (await answer.text()).splitlines()
        served = answer.headers["X-Served-Model"]
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = [choice["delta"].get("content") for each in chunks for choice in each["choices"]]
    return served, sum(bool(each) for each in said)
