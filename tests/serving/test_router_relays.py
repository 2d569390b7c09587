"""What happens between a client and a model server, through the running router."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from router_process import RouterProcess, started_router
from stand_in_vllm import StandInVllm
from world import RequestPath, World, live, running_router, running_sync, serving, until

from serving.ledger import Event, read_events
from serving.ledger.ids import admitted_at


async def events(path: RequestPath, count: int) -> list[Event]:
    """The ledger's events once there are so many."""
    await until(
        lambda: len(read_events(path.world.ledger_dir).events) >= count, "the events are written"
    )
    return read_events(path.world.ledger_dir).events


@asynccontextmanager
async def begun_stream(
    path: RequestPath, key: str, **fields: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A streamed answer that has begun; the client goes away where the block ends before it."""
    body = {"model": "slm", "messages": [{"role": "user", "content": "a b c"}], "stream": True}
    response = await path.session.post(
        f"{path.url}/v1/chat/completions",
        json=body | fields,
        headers={"Authorization": f"Bearer {key}"},
    )
    try:
        yield response
    finally:
        response.close()


async def stream(path: RequestPath, key: str, **fields: Any) -> tuple[list[dict[str, Any]], bytes]:
    """A streamed answer: its events as JSON, and its raw bytes."""
    async with begun_stream(path, key, **fields) as response:
        raw = await response.read()
    lines = [line[6:] for line in raw.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines], raw


def set_clock_on(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """What the event loop would do within that time is due now, however fast the machine is."""
    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + seconds)


async def test_whole_answer_is_metered(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    _, body, headers = await request_path.ask(key, max_tokens=5)
    (event,) = await events(request_path, 1)
    assert (event.request_id, event.status, event.error) == (headers["X-Request-Id"], 200, None)
    assert (event.domain, event.customer) == ("bank-ledger", "customer-bank-ledger")
    assert (event.served_model, event.version, event.pool) == ("bank-ledger-v1.0", "v1.0", "slm")
    assert (event.input_tokens, event.output_tokens) == (3, 5)
    assert body["usage"]["completion_tokens"] == 5
    assert event.ttft_ms is not None
    assert 0 < event.ttft_ms <= event.latency_ms
    assert (event.server, event.attempts) == (request_path.sync.status().pod, 1)
    assert (event.experiment, event.wasted_pool, event.wasted_output_tokens) == (None, None, 0)


async def test_an_id_says_when_its_request_was_admitted(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    before = datetime.now(UTC)
    await request_path.ask(key)
    (event,) = await events(request_path, 1)
    admitted = admitted_at(event.request_id)
    # The id has whole milliseconds.
    assert before - timedelta(milliseconds=1) <= admitted <= datetime.fromisoformat(event.ts)


@pytest.mark.parametrize("asks", [False, True])
async def test_stream_hides_usage_unless_asked(request_path: RequestPath, asks: bool) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    options = {"stream_options": {"include_usage": True}} if asks else {}
    chunks, raw = await stream(request_path, key, max_tokens=6, **options)
    words = "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"])
    assert words.split() == request_path.vllm.words("bank-ledger-v1.0", 6)
    assert raw.endswith(b"data: [DONE]\n\n")
    with_usage = [chunk for chunk in chunks if "usage" in chunk]
    assert len(with_usage) == int(asks)
    assert all(chunk["choices"] == [] for chunk in with_usage)
    (event,) = await events(request_path, 1)
    assert (event.input_tokens, event.output_tokens, event.stream) == (3, 6, True)


async def test_the_event_is_durable_before_the_last_byte(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    body = {"model": "slm", "messages": [], "stream": True}
    async with request_path.session.post(
        f"{request_path.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
    ) as response:
        request_id = response.headers["X-Request-Id"]
        async for line in response.content:
            if line.startswith(b"data: [DONE]"):
                found, orphans = read_events(request_path.world.ledger_dir)
                assert [event.request_id for event in found] == [request_id]
                assert not orphans
                break
            # The intent is there from the first byte on.
            _, orphans = read_events(request_path.world.ledger_dir)
            known = read_events(request_path.world.ledger_dir)
            ids = {r.request_id for r in [*known.events, *known.orphans]}
            assert request_id in ids


async def test_client_that_leaves_a_stream_is_recorded_and_cancels(
    request_path: RequestPath,
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.token_delay_s = 0.02
    body = {"model": "slm", "messages": [{"content": "a b"}], "stream": True, "max_tokens": 10_000}
    response = await request_path.session.post(
        f"{request_path.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
    )
    for _ in range(6):
        await response.content.readline()
    response.close()
    (event,) = await events(request_path, 1)
    await until(lambda: request_path.vllm.cancelled == 1, "the model server's work is cancelled")
    assert (event.status, event.error) == (499, "client_closed")
    assert event.input_tokens == 2
    assert event.output_tokens is not None
    assert 1 <= event.output_tokens <= request_path.vllm.sent_tokens < 10_000


async def test_client_that_leaves_before_the_answer(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.first_delay_s = 60
    before = len(request_path.vllm.requests)
    asking = asyncio.create_task(request_path.ask(key))
    await until(lambda: len(request_path.vllm.requests) > before, "the model server works on it")
    asking.cancel()
    (event,) = await events(request_path, 1)
    await until(lambda: request_path.vllm.cancelled == 1, "the model server's work is cancelled")
    assert (event.status, event.input_tokens, event.output_tokens) == (499, None, None)


async def test_one_retry_on_a_broken_connection(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.refuse_connections = 1
    assert (await request_path.ask(key))[0] == 200
    request_path.vllm.refuse_connections = 2
    status, body, _headers = await request_path.ask(key)
    assert (status, body["error"]["code"]) == (502, "upstream_unreachable")
    assert request_path.vllm.refuse_connections == 0
    found = await events(request_path, 2)
    assert [(event.status, event.attempts) for event in found] == [(200, 2), (502, 2)]


async def test_a_stream_that_breaks_off_says_so(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.break_after = 3
    request_path.vllm.token_delay_s = 0.01
    chunks, raw = await stream(request_path, key)
    assert chunks[-1]["error"]["code"] == "upstream_broke_off"
    assert b"[DONE]" not in raw
    (event,) = await events(request_path, 1)
    assert (event.status, event.error, event.output_tokens) == (502, "upstream_broke_off", 3)
    assert len(request_path.vllm.requests) == 3, "a request is not sent again after its first byte"


async def test_a_failure_inside_a_stream_is_no_success(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.fail_in_stream = True
    chunks, raw = await stream(request_path, key)
    assert any("error" in chunk for chunk in chunks)
    assert b"[DONE]" not in raw
    (event,) = await events(request_path, 1)
    assert (event.status, event.error) == (502, "upstream_broke_off")


@pytest.mark.parametrize(
    ("upstream", "status", "code"),
    [(500, 502, "upstream_failed"), (404, 503, "release_not_loaded"), (400, 400, 400)],
)
async def test_failures_of_the_model_server(
    request_path: RequestPath, upstream: int, status: int, code: object
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    request_path.vllm.status = upstream
    answer, body, _ = await request_path.ask(key)
    assert (answer, body["error"]["code"]) == (status, code)
    (event,) = await events(request_path, 1)
    assert event.status == status
    assert event.output_tokens is None


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"not json", 400, "invalid_json"),
        (b"[1, 2]", 400, "invalid_json"),
        (b'{"model": "slm", "temperature": NaN}', 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"messages": []}', 400, "invalid_value"),
        (b'{"model": "slm", "prompt_logprobs": 0}', 400, "invalid_value"),
        (b'{"model": "slm", "echo": true}', 400, "invalid_value"),
        (b'{"model": "slm", "vllm_xargs": {"kv_transfer_params": "x"}}', 400, "invalid_value"),
        (b'{"model": "slm", "temperature": 1e999}', 400, "invalid_value"),
        (b'{"model": "slm", "n": 9}', 400, "invalid_value"),
        (b'{"model": "slm", "n": 0}', 400, "invalid_value"),
        (b'{"model": "slm", "n": 2, "prompt": ["a", "b", "c", "d", "e"]}', 400, "invalid_value"),
        (b'{"model": "slm", "prompt": [[1], [2]], "stream": true}', 400, "invalid_value"),
        (b'{"model": "slm", "pad": "' + b"x" * 3_000_000 + b'"}', 413, "request_too_large"),
    ],
    ids=[
        "text",
        "list",
        "nan",
        "not-utf8",
        "deep",
        "no-model",
        "prompt-logprobs",
        "echo",
        "engine-field",
        "infinite",
        "many-choices",
        "no-choice",
        "many-prompts",
        "streamed-choices",
        "oversize",
    ],
)
async def test_bodies_that_are_refused(
    request_path: RequestPath, data: bytes, status: int, code: str
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    answer, body, _ = await request_path.ask(key, data=data)
    assert (answer, body["error"]["code"]) == (status, code)
    assert not read_events(request_path.world.ledger_dir).events


async def test_fields_of_the_openai_interface_are_served(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    served = {"n": 2, "stop": ["x"], "seed": 1, "response_format": {"type": "json_object"}}
    status, _, _ = await request_path.ask(key, **served, user="someone", echo=False, store=True)
    assert status == 200
    sent = request_path.vllm.requests[-1][1]
    assert {name: sent[name] for name in served} == served
    assert not {"user", "echo", "store", "lora_name"} & sent.keys()


async def test_an_oversize_body_without_a_length_is_refused(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")

    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 100_000

    async with request_path.session.post(
        f"{request_path.url}/v1/chat/completions",
        data=endless(),
        headers={"Authorization": f"Bearer {key}"},
    ) as response:
        assert response.status == 413


async def test_unknown_routes_are_json_errors(request_path: RequestPath) -> None:
    async with request_path.session.post(f"{request_path.url}/v1/load_lora_adapter") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "no_such_route"


async def with_limits(
    world: World, limits: dict[str, Any], act: Callable[[RequestPath], Any]
) -> None:
    """Run `act` against a router with other limits."""
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        running_router(world.router_config(vllm_url, sync_url, limits=limits)) as (url, router),
        aiohttp.ClientSession() as session,
    ):
        await act(RequestPath(world, vllm, sync, router, url, session))


@pytest.mark.parametrize(
    "limits", [{"max_in_flight": 2}, {"max_in_flight_per_domain": 2}], ids=["router", "domain"]
)
async def test_requests_over_the_bound_get_429(
    world: World, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(path: RequestPath) -> None:
        key = await live(path, "bank-ledger", "v1.0")
        path.vllm.first_delay_s = 60
        before = len(path.vllm.requests)
        asking = [asyncio.create_task(path.ask(key)) for _ in range(6)]
        await until(lambda: sum(task.done() for task in asking) == 4, "four are refused")
        await until(lambda: len(path.vllm.requests) - before == 2, "two are served")
        set_clock_on(monkeypatch, 60)
        answers = await asyncio.gather(*asking)
        statuses = sorted(status for status, _, _ in answers)
        assert statuses == [200, 200, 429, 429, 429, 429]
        refused = next(headers for status, _, headers in answers if status == 429)
        assert int(refused["Retry-After"]) >= 1
        assert len(path.vllm.requests) - before == 2
        path.vllm.first_delay_s = 0
        assert (await path.ask(key))[0] == 200, "slots come back"

    await with_limits(world, limits, act)


async def test_deadline_before_the_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(path: RequestPath) -> None:
        key = await live(path, "bank-ledger", "v1.0")
        path.vllm.first_delay_s = 3600
        before = len(path.vllm.requests)
        asking = asyncio.create_task(path.ask(key))
        await until(lambda: len(path.vllm.requests) > before, "the model server has the request")
        set_clock_on(monkeypatch, 60)
        status, body, _ = await asking
        assert (status, body["error"]["code"]) == (504, "deadline_exceeded")
        (event,) = await events(path, 1)
        assert (event.status, event.error) == (504, "deadline_exceeded")
        assert event.output_tokens is None
        await until(lambda: path.vllm.cancelled == 1, "the model server's work is cancelled")

    await with_limits(world, {"request_timeout_s": 60}, act)


async def test_deadline_inside_a_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(path: RequestPath) -> None:
        key = await live(path, "bank-ledger", "v1.0")
        path.vllm.token_delay_s = 3600
        async with begun_stream(path, key, max_tokens=1000) as response:
            await response.content.readline()
            set_clock_on(monkeypatch, 60)
            rest = await response.read()
        assert b'"deadline_exceeded"' in rest
        assert b"[DONE]" not in rest
        (event,) = await events(path, 1)
        # The client got its status and a token before the deadline: that token is billed.
        assert (event.status, event.error) == (200, "deadline_exceeded")
        assert event.output_tokens == 1
        await until(lambda: path.vllm.cancelled == 1, "the model server's work is cancelled")

    await with_limits(world, {"request_timeout_s": 60}, act)


async def test_back_pressure_reaches_the_model_server(
    request_path: RequestPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    # 80 MB in all: half of that is more than the sockets between the two hold.
    total = 8000
    monkeypatch.setattr(request_path.vllm, "words", lambda _, count: ["x" * 10_000] * count)
    async with begun_stream(request_path, key, max_tokens=total):
        # Whoever reads gets the same answer whole, and that takes as long as it takes: in this time
        # the model server has not got on with the answer that nobody reads.
        async with begun_stream(request_path, key, max_tokens=total) as read:
            async for _ in read.content.iter_chunked(1 << 20):
                pass
        unread = request_path.vllm.sent_tokens - total
        assert 0 < unread < total // 2, "the model server goes on although the client does not read"
    whole, left = await events(request_path, 2)
    assert (whole.status, whole.output_tokens) == (200, total)
    assert left.status == 499


async def test_a_ledger_that_cannot_be_written_stops_service(
    request_path: RequestPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    real = os.fdatasync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    status, body, _ = await request_path.ask(key)
    assert (status, body["error"]["code"]) == (503, "ledger_unavailable")
    async with request_path.session.get(f"{request_path.url}/readyz") as response:
        assert response.status == 503
    monkeypatch.setattr(os, "fdatasync", real)
    assert (await request_path.ask(key))[0] == 200


async def test_kill_9_between_intent_and_event_leaves_a_named_orphan(world: World) -> None:
    vllm = StandInVllm(first_delay_s=0)
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        aiohttp.ClientSession() as session,
    ):
        router, key = await started_router(world, vllm_url, sync_url, sync)
        vllm.token_delay_s = 0.05
        body = {"model": "slm", "messages": [], "stream": True, "max_tokens": 1000}
        response = await session.post(
            f"{router.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
        )
        await response.content.readline()
        router.process.kill()
        await router.process.wait()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
        found, orphans = read_events(world.ledger_dir)
        assert found == []
        assert [orphan.request_id for orphan in orphans] == [response.headers["X-Request-Id"]]
        again = await RouterProcess.start(world.router_config(vllm_url, sync_url), world.root)
        again.process.terminate()
        assert await again.process.wait() == 0
        assert read_events(world.ledger_dir).orphans == orphans


async def test_sigterm_finishes_what_is_in_flight(world: World) -> None:
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        aiohttp.ClientSession() as session,
    ):
        router, key = await started_router(world, vllm_url, sync_url, sync)
        vllm.token_delay_s = 0.05
        body = {"model": "slm", "messages": [], "stream": True, "max_tokens": 30}
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{router.url}/v1/chat/completions"
        response = await session.post(url, json=body, headers=headers)
        await response.content.readline()
        router.process.send_signal(signal.SIGTERM)
        rest = await response.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert await router.process.wait() == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(url, json=body, headers=headers)
        (event,) = read_events(world.ledger_dir).events
        assert (event.status, event.output_tokens) == (200, 30)


async def test_two_routers_do_not_share_a_ledger(request_path: RequestPath) -> None:
    config = request_path.world.router_config("http://127.0.0.1:1", "http://127.0.0.1:1")
    file = request_path.world.root / "second.json"
    file.write_text(config.model_dump_json())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serving.router",
        "--config",
        str(file),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"another process" in said
