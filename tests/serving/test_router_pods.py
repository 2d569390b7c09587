"""A pool of several model pods: who gets a request, and what happens when pods come and go."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from model_pods import ModelPod, Pods, Routed, routed
from world import World, loaded, serving, until

from serving.ledger import read_events
from serving.pool_servers import PoolServers


@pytest.fixture
async def pods(world: World) -> AsyncIterator[Pods]:
    async with contextlib.AsyncExitStack() as stack:
        yield Pods(world, stack)


async def _two(pods: Pods) -> str:
    """Two pods that hold a live release of bank-ledger; returns its key."""
    await pods.add("vllm-0")
    await pods.add("vllm-1")
    pods.name("vllm-0", "vllm-1")
    return await pods.live("bank-ledger", "v1.0", "vllm-0", "vllm-1")


async def test_requests_go_to_the_least_busy_holder_and_the_ledger_names_it(pods: Pods) -> None:
    key = await _two(pods)
    async with routed(pods) as path:
        await path.answers(key, "bank-ledger-v1.0")
        before = {name: pod.served() for name, pod in pods.all.items()}
        pods.all["vllm-0"].vllm.first_delay_s = 2
        slow = asyncio.create_task(path.ask(key))
        await until(lambda: sum(p.served() for p in pods.all.values()) > sum(before.values()), "")
        if pods.all["vllm-1"].served() > before["vllm-1"]:
            # The turn was the other one's: the next goes to the slow one.
            await slow
            slow = asyncio.create_task(path.ask(key))
            await until(lambda: pods.all["vllm-0"].served() > before["vllm-0"], "it is at work")
        count = pods.all["vllm-0"].served()
        for _ in range(6):
            assert (await path.ask(key))[0] == 200
        assert pods.all["vllm-0"].served() == count
        assert (await slow)[0] == 200
    events = read_events(pods.world.ledger_dir).events
    assert Counter(event.server for event in events) == {
        name: pod.served() for name, pod in pods.all.items()
    }


async def test_a_pod_that_dies_under_load_fails_only_the_answers_it_was_sending(
    pods: Pods,
) -> None:
    key = await _two(pods)
    for pod in pods.all.values():
        pod.vllm.token_delay_s = 0.01
    broken: list[str] = []
    whole = 0
    enough = asyncio.Event()

    async def client(path: Routed, *, stream: bool) -> None:
        nonlocal whole
        while not enough.is_set():
            status, body, headers = await path.ask(key, stream=stream, max_tokens=10)
            if status == 200 and (not stream or b'"error"' not in body):
                whole += 1
            else:
                assert stream, f"an answer that was not being sent failed: {body}"
                broken.append(headers["X-Request-Id"])

    async with routed(pods) as path:
        await path.answers(key, "bank-ledger-v1.0")
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(client(path, stream=number % 2 == 0))
            await until(lambda: whole > 60, "there is load")
            dying = pods.all["vllm-1"]
            dying.vllm.first_delay_s = 1
            count = len(dying.vllm.requests)
            # Streams that end together come back together: without more clients a server may see
            # nothing but streams for a long time.
            for _ in range(12):
                group.create_task(client(path, stream=False))
            await until(
                lambda: any(not body.get("stream") for _, body in dying.vllm.requests[count:]),
                "it works on a whole answer",
            )
            await dying.die()
            pods.name("vllm-0")
            after = whole
            await until(lambda: whole > after + 120, "the other one goes on")
            enough.set()
    ledger = read_events(pods.world.ledger_dir)
    assert not ledger.orphans
    by_error = {event.request_id for event in ledger.events if event.error == "upstream_broke_off"}
    assert by_error == set(broken)
    assert {event.server for event in ledger.events if event.request_id in by_error} <= {"vllm-1"}
    assert sum(event.status == 200 for event in ledger.events) >= whole
    assert {event.error for event in ledger.events} <= {None, "upstream_broke_off", "client_closed"}
    assert max(event.attempts for event in ledger.events) == 2


async def test_a_release_takes_over_when_a_quorum_of_servers_holds_it(pods: Pods) -> None:
    key = await _two(pods)
    async with routed(pods, slm={"quorum": 2}) as path:
        await path.answers(key, "bank-ledger-v1.0")
        # The second pod cannot load anything any more.
        pods.all["vllm-1"].vllm.base_names = ("another-base",)
        pods.world.go_live("bank-ledger", "v1.1")
        await until(lambda: loaded(pods.all["vllm-0"].sync, "bank-ledger", "v1.1"), "one holds it")
        await until(
            lambda: len(path.router.releases_of("bank-ledger").held) == 2, "the router knows"
        )
        for _ in range(4):
            assert (await path.ask(key))[2]["X-Served-Model"] == "bank-ledger-v1.0"
        # By its name it is served where it is.
        status, _, headers = await path.ask(key, model="bank-ledger-v1.1")
        assert (status, headers["X-Served-Model"]) == (200, "bank-ledger-v1.1")
        # A pool of one needs no second one.
        pods.name("vllm-0")
        await path.answers(key, "bank-ledger-v1.1")


async def test_a_server_that_is_named_no_more_gets_nothing_new_and_ends_what_it_has(
    pods: Pods,
) -> None:
    key = await _two(pods)
    pods.name("vllm-0")
    async with routed(pods) as path:
        await path.answers(key, "bank-ledger-v1.0")
        first = pods.all["vllm-0"]
        first.vllm.token_delay_s = 0.05
        count = first.served()
        begun = asyncio.create_task(path.ask(key, stream=True, max_tokens=40))
        await until(lambda: first.served() == count + 1, "it is at work")
        pods.name("vllm-1")
        await until(lambda: _pods_of(path) == {"vllm-1"}, "the file is read")
        await path.answers(key, "bank-ledger-v1.0")
        assert first.served() == count + 1
        status, body, _ = await begun
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")


def _state(pod: ModelPod, served: str) -> str | None:
    adapter = pod.sync.status().adapters.get(served)
    return None if adapter is None else adapter.state


def _pods_of(path: Routed) -> set[str]:
    return {address.pod for address in path.router._servers["slm"].addresses}


@pytest.mark.parametrize("damage", ["{", '{"servers": 1}', '{"servers": [], "more": 1}'])
async def test_a_damaged_file_leaves_the_servers_as_they_were(pods: Pods, damage: str) -> None:
    key = await _two(pods)
    async with routed(pods) as path:
        await path.answers(key, "bank-ledger-v1.0")
        pods.write("slm", damage)
        await path.router.refresh()
        assert _pods_of(path) == {"vllm-0", "vllm-1"}
        assert (await path.ask(key))[0] == 200
        (pods.folder / "slm.json").unlink()
        await path.router.refresh()
        assert _pods_of(path) == set()


async def test_the_report_of_another_pod_is_not_believed(pods: Pods) -> None:
    key = await _two(pods)
    stranger = pods.all["vllm-1"].address.model_copy(update={"pod": "vllm-9"})
    servers = PoolServers(servers=(pods.all["vllm-0"].address, stranger))
    pods.write("slm", servers.model_dump_json())
    async with routed(pods) as path:
        await path.answers(key, "bank-ledger-v1.0")
        count = pods.all["vllm-1"].served()
        for _ in range(6):
            assert (await path.ask(key))[0] == 200
        assert pods.all["vllm-1"].served() == count


async def test_a_server_that_forgot_the_release_is_passed_over(pods: Pods) -> None:
    key = await _two(pods)
    # The router does not look again by itself: it knows nothing of the restart.
    async with routed(pods, poll_interval_s=3600) as path:
        await path.answers(key, "bank-ledger-v1.0")
        pods.all["vllm-1"].sync.status = lambda: None  # type: ignore[method-assign,assignment,return-value]
        for _ in range(8):
            pods.all["vllm-1"].vllm.forget()
            assert (await path.ask(key))[0] == 200
    events = read_events(pods.world.ledger_dir).events
    assert {event.server for event in events if event.attempts == 2} == {"vllm-0"}


async def test_a_server_that_cannot_be_reached_is_left_alone_and_tried_again(pods: Pods) -> None:
    key = await _two(pods)
    breaker = {"failures": 3, "open_s": 0.5}
    async with routed(pods, poll_interval_s=3600, breaker=breaker) as path:
        await path.answers(key, "bank-ledger-v1.0")
        bad = pods.all["vllm-1"]
        bad.vllm.refuse_connections = 1000
        for _ in range(12):
            assert (await path.ask(key))[0] == 200
        refused = 1000 - bad.vllm.refuse_connections
        assert refused >= 3
        assert await path.metric('router_breakers_opened_total{pool="slm"} 1.0')
        bad.vllm.refuse_connections = 0
        count = bad.served()
        async with asyncio.timeout(20):
            while bad.served() == count:
                assert (await path.ask(key))[0] == 200
                await asyncio.sleep(0.05)


async def test_a_server_that_ends_behind_its_envoy_is_passed_over(pods: Pods) -> None:
    key = await _two(pods)
    async with routed(pods, poll_interval_s=3600) as path:
        await path.answers(key, "bank-ledger-v1.0")
        pods.all["vllm-1"].vllm.lost_by_envoy = 1000
        for _ in range(8):
            assert (await path.ask(key))[0] == 200
    events = read_events(pods.world.ledger_dir).events
    assert {event.server for event in events if event.attempts == 2} == {"vllm-0"}


async def test_a_bad_adapter_takes_down_its_own_domain_alone(pods: Pods) -> None:
    key = await _two(pods)
    other = await pods.live("stock-order", "v1.0", "vllm-0", "vllm-1")
    corrupt = pods.world.domain("tax")
    pods.world.go_live("tax", "v1.0", weights=b"not what the format asks for")
    async with routed(pods, breaker={"failures": 2, "open_s": 3600}) as path:
        await path.answers(key, "bank-ledger-v1.0")
        await path.answers(other, "stock-order-v1.0")
        for pod in pods.all.values():
            await until(
                lambda pod=pod: _state(pod, "tax-v1.0") == "failed", "the adapter is refused"
            )
            pod.vllm.failing.add("stock-order-v1.0")
        # One that no server can load, and one that fails on every server.
        status, body, headers = await path.ask(corrupt)
        assert (status, body["error"]["code"]) == (503, "release_not_loaded")
        assert int(headers["Retry-After"]) > 0
        failed = [(await path.ask(other))[0] for _ in range(8)]
        assert failed[0] == 502
        assert failed[-1] == 503
        for _ in range(8):
            assert (await path.ask(key))[0] == 200


async def test_a_gateway_before_the_pool_gets_what_every_server_holds(pods: Pods) -> None:
    key = await _two(pods)
    other = await pods.live("stock-order", "v1.0", "vllm-0", "vllm-1")
    gateway = pods.all["vllm-0"].vllm
    seen: list[tuple[str | None, str]] = []

    async def relay(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append((request.headers.get("Authorization"), body["model"]))
        body["model"] = body["model"].removeprefix("vllm-slm/")
        url = f"{pods.all['vllm-0'].address.base_url}{request.path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            return web.json_response(await answer.json(), status=answer.status)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", relay)
    default, own = (pods.world.root / name for name in ("default-key", "own-key"))
    default.write_text("sk-bf-default\n")
    own.write_text("sk-bf-own\n")
    async with serving(app) as url:
        via = {
            "url": url,
            "provider": "vllm-slm",
            "key": {"file": str(default)},
            "customer_keys": {"customer-stock-order": {"file": str(own)}},
        }
        async with routed(pods, slm={"via": via}) as path:
            await path.answers(key, "bank-ledger-v1.0")
            await path.answers(other, "stock-order-v1.0")
            assert set(seen) == {
                ("Bearer sk-bf-default", "vllm-slm/bank-ledger-v1.0"),
                ("Bearer sk-bf-own", "vllm-slm/stock-order-v1.0"),
            }
            # One of two holds the next release: the gateway might ask the other.
            pods.all["vllm-1"].vllm.base_names = ("another-base",)
            pods.world.go_live("bank-ledger", "v1.1")
            await until(
                lambda: len(path.router.releases_of("bank-ledger").held) == 2, "one holds it"
            )
            assert (await path.ask(key))[2]["X-Served-Model"] == "bank-ledger-v1.0"
    assert gateway.requests
    assert {event.server for event in read_events(pods.world.ledger_dir).events} == {None}


async def test_requests_wait_for_the_first_server_of_a_pool(pods: Pods) -> None:
    await pods.add("vllm-0")
    pods.name()
    key = await pods.live("bank-ledger", "v1.0", "vllm-0")
    limits = {"max_waiting": 2, "longest_wait_s": 60}
    async with routed(pods, limits=limits) as path:
        waiting = [asyncio.create_task(path.ask(key)) for _ in range(2)]
        async with asyncio.timeout(20):
            while not await path.metric('router_waiting_requests{pool="slm"} 2.0'):
                await asyncio.sleep(0.02)
        # There is no room for a third one, by whatever name it asks.
        for model in ("slm", "bank-ledger-v1.0"):
            status, body, headers = await path.ask(key, model=model)
            assert (status, body["error"]["code"]) == (503, "release_not_loaded")
            assert int(headers["Retry-After"]) > 0
        pods.name("vllm-0")
        for each in waiting:
            status, _, headers = await each
            assert (status, headers["X-Served-Model"]) == (200, "bank-ledger-v1.0")
        assert await path.metric('router_waiting_requests{pool="slm"} 0.0')
    assert len(read_events(pods.world.ledger_dir).events) == 2


async def test_waiting_ends_with_the_time_limit_and_with_the_router(pods: Pods) -> None:
    await pods.add("vllm-0")
    pods.name()
    key = await pods.live("bank-ledger", "v1.0", "vllm-0")
    limits = {"max_waiting": 2, "longest_wait_s": 0.2}
    async with routed(pods, limits=limits) as path:
        status, body, _ = await path.ask(key)
        assert (status, body["error"]["code"]) == (503, "release_not_loaded")
    async with routed(pods, limits=limits | {"longest_wait_s": 3600}) as path:
        waiting = asyncio.create_task(path.ask(key))
        async with asyncio.timeout(20):
            while not await path.metric('router_waiting_requests{pool="slm"} 1.0'):
                await asyncio.sleep(0.02)
        path.router.drain()
        assert (await waiting)[0] == 503
        assert (await path.ask(key))[0] == 503


async def test_a_router_that_drains_ends_each_connection_with_its_answer(pods: Pods) -> None:
    key = await _two(pods)
    async with routed(pods) as path:
        _, _, headers = await path.ask(key)
        assert headers.get("Connection") is None
        path.router.drain()
        status, _, headers = await path.ask(key)
        assert (status, headers["Connection"]) == (200, "close")


def test_a_pod_is_named_once(tmp_path: Path) -> None:
    address = {"pod": "a", "base_url": "http://h:1", "adapter_sync_url": "http://h:2"}
    PoolServers.model_validate_json(json.dumps({"servers": [address]}))
    with pytest.raises(ValueError, match="'a' is named twice"):
        PoolServers.model_validate_json(json.dumps({"servers": [address, address]}))
