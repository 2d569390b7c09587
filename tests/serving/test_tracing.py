"""Traces on their way: to whom they go, and what happens when nobody takes them."""

import asyncio
import base64
import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError
from stand_in_receiver import StandInMlflow, StandInReceiver, values
from stand_in_vllm import StandInVllm
from traces import running_tracer, trace
from world import RequestPath, World, live, running_router, running_sync, serving, until

from serving.router.config import RouterConfig
from serving.settings import SettingsError
from serving.tracing.config import SecretSource, TracingConfig
from serving.tracing.redactor import RedactionError, RedactorProcess
from serving.tracing.tracer import Tracer

DEAD_URL = "http://127.0.0.1:9"


def otlp(url: str, **changes: Any) -> TracingConfig:
    target = {"kind": "otlp", "endpoint": f"{url}/v1/traces"}
    return TracingConfig.model_validate({"target": target, "retry_for_s": 0} | changes)


async def occupy(tracer: Tracer, receiver: StandInReceiver) -> None:
    """Trace 0 keeps the tracer's thread at a receiver that hangs: what follows waits behind it."""
    tracer.record(trace(0))
    await until(lambda: receiver.held == 1, "the receiver has the first trace")


@contextlib.asynccontextmanager
async def traced_path(
    world: World, tracing: dict[str, Any] | TracingConfig
) -> AsyncIterator[RequestPath]:
    """The request path with a router that sends traces."""
    vllm = StandInVllm()
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
        running_router(world.router_config(vllm_url, sync_url, tracing=tracing)) as (url, router),
        aiohttp.ClientSession() as session,
    ):
        yield RequestPath(world, vllm, sync, router, url, session)


async def metrics(path: RequestPath) -> str:
    async with path.session.get(f"{path.url}/metrics") as response:
        return await response.text()


async def test_a_request_becomes_one_trace_under_its_own_id(world: World) -> None:
    mlflow = StandInMlflow()
    async with (
        serving(mlflow.application()) as url,
        traced_path(world, {"target": {"kind": "mlflow", "url": url}}) as path,
    ):
        key = await live(path, "bank-ledger", "v1.0")
        _, _, headers = await path.ask(key)
        await until(lambda: bool(mlflow.requests), "the trace arrives")
    ((_, sent, _),) = mlflow.requests
    (span,) = mlflow.spans
    found = values(span)
    assert (sent["x-mlflow-experiment-id"], mlflow.experiment, span.name) == (
        "7", "inference", "inference",
    )  # fmt: skip
    assert span.trace_id.hex() == headers["X-Request-Id"]
    assert found["gen_ai.usage.output_tokens"] == 8
    assert found["langfuse.trace.metadata.model"] == "llama-8b"
    assert found["mlflow.traceTag.decision"] == "direct"
    assert found["langfuse.trace.metadata.content"] == "off"
    assert "gen_ai.input.messages" not in found


@pytest.mark.parametrize(("password", "outcome"), [("right", 1), ("wrong", 0)])
async def test_an_mlflow_with_users_is_asked_as_one_of_them(
    tmp_path: Path, password: str, outcome: int
) -> None:
    mlflow = StandInMlflow(login=f"Basic {base64.b64encode(b'pipeline:right').decode()}")
    for name, value in {"username": "pipeline", "password": f"{password}\n"}.items():
        (tmp_path / name).write_text(value)
    async with serving(mlflow.application()) as url:
        target = {
            "kind": "mlflow",
            "url": url,
            "username": {"file": str(tmp_path / "username")},
            "password": {"file": str(tmp_path / "password")},
        }
        config = TracingConfig.model_validate({"target": target, "retry_for_s": 0})
        async with running_tracer(config) as (tracer, dropped):
            tracer.record(trace(0))
    assert (len(mlflow.spans), mlflow.experiment is not None) == (outcome, bool(outcome))
    assert sum(dropped.values()) == 1 - outcome


def test_half_a_login_is_refused() -> None:
    target = {"kind": "mlflow", "url": DEAD_URL, "username": {"env": "MLFLOW_USER"}}
    with pytest.raises(ValidationError, match="both `username` and `password`, or neither"):
        TracingConfig.model_validate({"target": target})


async def test_a_hanging_collector_fails_no_request(world: World) -> None:
    receiver = StandInReceiver(hangs=True)
    async with serving(receiver.application()) as url:
        tracing = otlp(url, queue=8, timeout_s=60, retry_for_s=60)
        async with traced_path(world, tracing) as path:
            key = await live(path, "bank-ledger", "v1.0")
            statuses = Counter([(await path.ask(key))[0]])
            await until(lambda: receiver.held == 1, "the collector hangs")
            for _ in range(10):
                answers = await asyncio.gather(*(path.ask(key) for _ in range(6)))
                statuses.update(status for status, _, _ in answers)
            text = await metrics(path)
    assert statuses == {200: 61}
    assert 'router_traces_dropped_total{reason="queue_full"} 52.0' in text


async def test_what_a_hanging_collector_did_not_take_is_counted_at_the_end() -> None:
    receiver = StandInReceiver(hangs=True)
    async with serving(receiver.application()) as url:
        async with running_tracer(otlp(url, queue=8, timeout_s=60)) as (tracer, dropped):
            await occupy(tracer, receiver)
            for number in range(1, 13):
                tracer.record(trace(number))
        tracer.record(trace(99))
        assert dropped == {"queue_full": 4, "closing": 10}


async def test_a_dead_port_drops_and_counts() -> None:
    async with running_tracer(otlp(DEAD_URL)) as (tracer, dropped):
        for number in range(5):
            tracer.record(trace(number))
        await until(lambda: dropped["unreachable"] == 5, "given up")
        tracer.record(trace(6))
    assert dropped == {"unreachable": 5, "closing": 1}


async def test_a_refusal_is_not_tried_again() -> None:
    receiver = StandInReceiver(statuses=[400, 200])
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url, retry_for_s=60)) as (tracer, dropped),
    ):
        tracer.record(trace(1))
        await until(lambda: dropped["refused"] == 1, "refused")
        tracer.record(trace(2))
        await until(lambda: len(receiver.spans) == 1, "the next one arrives")
    assert dropped == {"refused": 1}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_an_overloaded_receiver_is_asked_again(status: int) -> None:
    receiver = StandInReceiver(statuses=[status, 200])
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url, retry_for_s=60)) as (tracer, dropped),
    ):
        tracer.record(trace())
        await until(lambda: len(receiver.spans) == 1, "the second try arrives")
    assert not dropped


async def test_a_redirect_is_followed_nowhere() -> None:
    receiver = StandInReceiver(statuses=[307])
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url)) as (tracer, dropped),
    ):
        tracer.record(trace())
        await until(lambda: dropped["refused"] == 1, "refused")


async def test_spans_that_the_receiver_leaves_out_are_counted() -> None:
    receiver = StandInReceiver(hangs=True, rejects=2)
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url, timeout_s=60)) as (tracer, dropped),
    ):
        await occupy(tracer, receiver)
        for number in range(1, 6):
            tracer.record(trace(number))
        receiver.release()
        await until(lambda: len(receiver.requests) == 2, "both batches are answered")
        await until(lambda: dropped["refused"] >= 3, "counted")
    # Of a batch of one, no more than that one.
    assert dropped == {"refused": 1 + 2}


async def test_every_trace_is_sent_or_counted_once() -> None:
    receiver = StandInReceiver(hangs=True, statuses=[200, 400, 200])
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url, queue=1000, timeout_s=60)) as (tracer, dropped),
    ):
        await occupy(tracer, receiver)
        for number in range(1, 1501):
            tracer.record(trace(number))
        receiver.release()
        await until(lambda: len(receiver.spans) + sum(dropped.values()) >= 1501, "all settled")
    identities = [span.trace_id for span in receiver.spans]
    assert len(identities) == len(set(identities))
    assert len(identities) + sum(dropped.values()) == 1501
    assert dropped["refused"] > 0
    assert dropped["queue_full"] == 500


async def test_content_that_waits_is_bounded() -> None:
    receiver = StandInReceiver(hangs=True)
    async with serving(receiver.application()) as url:
        config = otlp(url, queue_content_bytes=1000, timeout_s=60)
        async with running_tracer(config) as (tracer, dropped):
            await occupy(tracer, receiver)
            for number in range(1, 6):
                tracer.record(trace(number, capture="hashed", prompt=b"x" * 300, answer=b"y" * 100))
            assert dropped == {"queue_full": 3}


async def test_large_batches_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedactorProcess, "redacted", lambda *_: ("wort " * 40_000, None))
    receiver = StandInReceiver()
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url)) as (tracer, dropped),
    ):
        for number in range(24):
            tracer.record(trace(number, capture="on"))
        await until(lambda: len(receiver.spans) == 24, "all arrive")
    assert not dropped
    assert max(body.ByteSize() for _, _, body in receiver.requests) < 4 * 1024 * 1024


async def test_a_trace_that_cannot_be_built_costs_no_other() -> None:
    receiver = StandInReceiver()
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url)) as (tracer, dropped),
    ):
        tracer.record(trace(1, started_ns=-1))
        tracer.record(trace(2))
        await until(lambda: len(receiver.spans) == 1, "the sound one arrives")
    assert dropped == {"internal_error": 1}


def langfuse(url: str, secret: SecretSource) -> dict[str, Any]:
    return {
        "target": {
            "kind": "langfuse",
            "url": url,
            "public_key": {"env": "TEST_LANGFUSE_PUBLIC_KEY"},
            "secret_key": secret.model_dump(mode="json", exclude_none=True),
        }
    }


async def test_langfuse_gets_its_headers_and_nobody_sees_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    (tmp_path / "secret").write_text("sk-lf-hidden\n")
    receiver = StandInReceiver(statuses=[401, 200])
    with caplog.at_level(logging.DEBUG):
        async with serving(receiver.application()) as url:
            raw = langfuse(url, SecretSource(file=tmp_path / "secret"))
            async with running_tracer(TracingConfig.model_validate(raw)) as (tracer, dropped):
                tracer.record(trace(1))
                await until(lambda: dropped["refused"] == 1, "refused")
                tracer.record(trace(2))
                await until(lambda: bool(receiver.requests), "taken")
    ((path, headers, _),) = receiver.requests
    assert path == "/api/public/otel/v1/traces"
    assert headers["x-langfuse-ingestion-version"] == "4"
    scheme, _, credentials = headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"pk-lf-1:sk-lf-hidden")
    assert not [key for key in values(receiver.spans[0]) if key.startswith("mlflow.")]
    assert "401" in caplog.text
    assert "hidden" not in caplog.text
    assert credentials not in caplog.text


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (SecretSource(env="TEST_NOT_SET"), "secret in variable TEST_NOT_SET: there is none"),
        (SecretSource(env="TEST_EMPTY"), "secret in variable TEST_EMPTY: there is none"),
        (SecretSource(env="TEST_BROKEN"), "characters other than printable ASCII"),
        (SecretSource(file=Path("/nowhere/key")), "secret in file /nowhere/key: No such file"),
    ],
)
async def test_missing_credentials_stop_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch, secret: SecretSource, message: str
) -> None:
    monkeypatch.setenv("TEST_LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("TEST_EMPTY", " ")
    monkeypatch.setenv("TEST_BROKEN", "geheim\tgeheim")
    config = world.router_config(DEAD_URL, DEAD_URL, tracing=langfuse(DEAD_URL, secret))
    with pytest.raises(SettingsError, match=message) as raised:
        async with running_router(config):
            pass
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("tracing", "message"),
    [
        ({"target": {"kind": "jaeger"}}, "mlflow"),
        ({"target": {"kind": "langfuse", "url": DEAD_URL}}, "public_key"),
        ({"target": {"kind": "mlflow", "url": "http://me:word@host"}}, "name a variable or a file"),
        ({"target": {"kind": "mlflow", "url": DEAD_URL}, "environment": "Prod"}, "'Prod' is not"),
        ({"target": {"kind": "mlflow", "url": DEAD_URL}, "environment": "langfuse-x"}, "is not"),
        ({"target": {"kind": "mlflow", "url": DEAD_URL}, "hash_key": {}}, "`env` or `file`"),
        (
            {"target": {"kind": "mlflow", "url": DEAD_URL}, "hash_key": {"file": "key"}},
            "is not absolute",
        ),
    ],
)
def test_configurations_that_cannot_be(world: World, tracing: dict[str, Any], message: str) -> None:
    values = world.router_config(DEAD_URL, DEAD_URL).model_dump(mode="json")
    with pytest.raises(ValidationError, match=message):
        RouterConfig.model_validate(values | {"tracing": tracing})


async def test_captured_content_is_redacted_before_it_leaves(world: World) -> None:
    receiver = StandInReceiver()
    async with (
        serving(receiver.application()) as url,
        traced_path(world, otlp(url)) as path,
    ):
        key = await live(path, "bank-ledger", "v1.0", content_capture="on")
        content = f"고객 hong@example.co.kr의 카드 4111-1111-1111-1111은? {key}"
        status, _, _ = await path.ask(key, messages=[{"role": "user", "content": content}])
        await until(lambda: bool(receiver.spans), "the trace arrives", seconds=180)
    found = values(receiver.spans[0])
    (asked,) = json.loads(found["gen_ai.input.messages"])
    (answered,) = json.loads(found["gen_ai.output.messages"])
    assert status == 200
    assert asked == {
        "role": "user",
        "parts": [
            {"type": "text", "content": "고객 <EMAIL_ADDRESS>의 카드 <CREDIT_CARD>은? <SECRET>"}
        ],
    }
    assert answered["role"] == "assistant"
    assert len(answered["parts"][0]["content"].split()) == 8
    assert found["langfuse.trace.metadata.content"] == "redacted"


async def test_a_stream_is_joined_before_it_is_redacted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = StandInReceiver()
    async with (
        serving(receiver.application()) as url,
        traced_path(world, otlp(url)) as path,
    ):
        key = await live(path, "bank-ledger", "v1.0", content_capture="on")
        monkeypatch.setattr(path.vllm, "words", lambda *_: ["4111", "1111", "1111", "1111"])
        body = {"model": "slm", "stream": True, "messages": [{"role": "user", "content": "?"}]}
        async with path.session.post(
            f"{path.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
        ) as response:
            assert response.status == 200
            await response.read()
        await until(lambda: bool(receiver.spans), "the trace arrives", seconds=180)
    found = values(receiver.spans[0])
    (answered,) = json.loads(found["gen_ai.output.messages"])
    assert answered["parts"] == [{"type": "text", "content": "<CREDIT_CARD> "}]


async def test_hashed_content_can_be_compared_and_not_guessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = [b'{"prompt": "yes"}', b'{"prompt": "yes"}', b'{"prompt": "no"}']

    async def hashes(**changes: Any) -> list[str]:
        receiver = StandInReceiver()
        async with (
            serving(receiver.application()) as url,
            running_tracer(otlp(url, **changes)) as (tracer, _),
        ):
            for number, prompt in enumerate(prompts):
                tracer.record(trace(number, capture="hashed", prompt=prompt))
            await until(lambda: len(receiver.spans) == 3, "all arrive")
        assert b"yes" not in b"".join(span.SerializeToString() for span in receiver.spans)
        return [values(span)["langfuse.trace.metadata.input_hash"] for span in receiver.spans]

    first, same, other = await hashes()
    assert first == same != other
    assert not set(await hashes()) & {first, other}
    monkeypatch.setenv("TEST_HASH_KEY", "k" * 32)
    keyed = {"hash_key": {"env": "TEST_HASH_KEY"}}
    assert await hashes(**keyed) == await hashes(**keyed)


async def test_what_cannot_be_redacted_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RedactionError("redaction ended: TimeoutError")

    monkeypatch.setattr(RedactorProcess, "redacted", fails)
    receiver = StandInReceiver()
    async with (
        serving(receiver.application()) as url,
        running_tracer(otlp(url)) as (tracer, dropped),
    ):
        tracer.record(trace(capture="on", prompt=b'{"prompt": "hong@example.com"}'))
        await until(lambda: bool(receiver.spans), "the trace arrives")
    (span,) = receiver.spans
    assert values(span)["langfuse.trace.metadata.content"] == "withheld"
    assert b"hong" not in span.SerializeToString()
    assert "hong" not in caplog.text
    assert (dropped, dropped.withheld) == ({}, 1)


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


@pytest.mark.local
async def test_the_real_mlflow_shows_tokens_latency_and_searchable_tags(mlflow_url: str) -> None:
    sent = trace(cached_tokens=2, requested_model="은행" * 60)
    condition = "tags.lora = 'bank-ledger-v1.2' AND tags.customer = 'customer-bank-A'"
    config = TracingConfig.model_validate({"target": {"kind": "mlflow", "url": mlflow_url}})
    # Twice, as after an answer that was lost: it stays one trace with its tokens once.
    for _ in range(2):
        async with running_tracer(config) as (tracer, dropped):
            tracer.record(sent)
            (found,) = await searched(mlflow_url, condition)
        assert not dropped
    (found,) = await searched(mlflow_url, condition)
    assert found["trace_id"] == f"tr-{sent.request_id}"
    assert found["execution_duration"] in {"0.200s", "0.2s"}
    assert found["tags"]["domain"] == "bank-ledger"
    assert found["tags"]["version"] == "v1.2"
    assert found["tags"]["mlflow.traceName"] == "inference"
    metadata = found["trace_metadata"]
    assert metadata["mlflow.trace.user"] == "customer-bank-A"
    usage = json.loads(metadata["mlflow.trace.tokenUsage"])
    assert (usage["input_tokens"], usage["total_tokens"]) == (7, 10)


async def searched(url: str, condition: str) -> list[dict[str, Any]]:
    """Traces of the experiment by a condition, once there are any."""
    experiments = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=inference"
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.5)
            try:
                identity = (await asyncio.to_thread(call, experiments))["experiment"]
            except urllib.error.HTTPError:
                continue
            location = {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": identity["experiment_id"]},
            }
            search = {"locations": [location], "filter": condition}
            answer = await asyncio.to_thread(call, f"{url}/api/3.0/mlflow/traces/search", search)
            if traces := answer.get("traces"):
                return traces
