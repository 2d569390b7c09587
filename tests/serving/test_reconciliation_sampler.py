"""Sampling: what real servers expose, and what the sampler makes of them and of others.

`data/vllm-0.32-*.txt` are texts of a vLLM 0.32.0 server, without their histogram buckets. `fresh`:
before its first request. `used`: after eight requests of known sizes (see EXPECTED).
"""

import asyncio
import datetime as dt
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from world import RequestPath, live, serving, until

from registry.store import open_store
from serving.reconciliation.adapter_sync import parse_adapter_sync
from serving.reconciliation.bifrost import parse_bifrost
from serving.reconciliation.config import ReconciliationConfig, VllmSource
from serving.reconciliation.coverage import cover
from serving.reconciliation.exposition import ExpositionError
from serving.reconciliation.router import parse_router
from serving.reconciliation.sample import follow, take
from serving.reconciliation.samples import Sample, read_samples, readings, sampled
from serving.reconciliation.scrape import scrape
from serving.reconciliation.vllm import parse_vllm
from tests.reconciliation.warehouse import Server, Warehouse, shares

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
FRESH, USED = (
    (DATA / f"vllm-0.32-{name}.txt").read_text(encoding="utf-8") for name in ("fresh", "used")
)
# Requests, usage that the client was told: one answer (16 + 16 tokens), three answers to one prompt
# (16 + 48), two prompts (5 + 32), one stopped by a string (16 + 5), a long one (3 + 300), a value
# and a name that the server refused (400, 404), and a stream left after 10 tokens (16 + 10).
EXPECTED = {
    "requests": 8,
    # The prompt of the three answers was counted three times.
    "prompt_tokens": 16 + 16 + 5 + 16 + 3 + 16 + 2 * 16,
    "generation_tokens": 16 + 48 + 32 + 5 + 300 + 10,
    "further_answers": 2,
}
BIFROST = """
# HELP bifrost_upstream_requests_total Total number of requests forwarded to upstream providers.
# TYPE bifrost_upstream_requests_total counter
bifrost_upstream_requests_total{provider="slm",model="a",virtual_key_id="k1"} 40
bifrost_upstream_requests_total{provider="slm",model="b",virtual_key_id="k2"} 2
bifrost_upstream_requests_total{provider="llm",model="c",virtual_key_id="k1"} 7
# TYPE bifrost_input_tokens_total counter
bifrost_input_tokens_total{provider="slm",model="a"} 1.2e+06
# TYPE bifrost_output_tokens_total counter
bifrost_output_tokens_total{provider="slm",model="a"} 5000
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7955949739e+09
"""


def test_a_vllm_before_its_first_request_counts_nothing() -> None:
    found = parse_vllm(FRESH)
    assert found.counters == dict.fromkeys(EXPECTED, 0)
    assert found.started == dt.datetime(2026, 11, 25, 8, 22, 53, 900_000, tzinfo=dt.UTC)


def test_a_vllm_counts_requests_and_prompts_as_documented() -> None:
    found = parse_vllm(USED)
    assert found.counters == EXPECTED
    assert found.started == parse_vllm(FRESH).started


def test_a_bifrost_is_read_by_provider() -> None:
    found = parse_bifrost(BIFROST, "slm")
    assert found.counters == {
        "requests": 42,
        "prompt_tokens": 1_200_000,
        "generation_tokens": 5000,
    }
    assert found.started is not None
    assert parse_bifrost(BIFROST, "other").counters["requests"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"there is no http_requests_total: is this a vLLM server\?"),
        ("<html>not metrics</html>", "Prometheus text format|no http_requests"),
        (USED.replace("vllm:prompt_tokens_total", "vllm:prompts_total")
             .replace("vllm:prompt_tokens counter", "vllm:prompts counter"),
         "there is no vllm:prompt_tokens_total"),
        (USED.replace('vllm:generation_tokens_total{engine="0",model_name="llama-8b"} 411.0',
                      'vllm:generation_tokens_total{engine="0",model_name="llama-8b"} NaN'),
         "vllm:generation_tokens_total is nan"),
    ],
)  # fmt: skip
def test_another_text_is_no_vllm(text: str, message: str) -> None:
    with pytest.raises(ExpositionError, match=message):
        parse_vllm(text)


@pytest.mark.parametrize("parser", [parse_router, parse_adapter_sync])
def test_another_text_is_neither_router_nor_adapter_sync(parser: Any) -> None:
    with pytest.raises(ExpositionError):
        parser(BIFROST)


async def test_the_router_says_when_it_started_and_what_it_dropped(
    request_path: RequestPath,
) -> None:
    before = dt.datetime.now(dt.UTC)
    request_path.router._metrics.dropped_traces("queue_full", 3)
    async with request_path.session.get(f"{request_path.url}/metrics") as response:
        found = parse_router(await response.text())
    assert found.counters == {"traces_dropped": 3}
    assert found.started is not None
    assert before - dt.timedelta(minutes=5) < found.started < before


async def test_adapter_sync_counts_its_probes_as_the_server_does(
    request_path: RequestPath,
) -> None:
    world, vllm = request_path.world, request_path.vllm
    await live(request_path, "bank-ledger", "v1.0")
    probes = request_path.sync.status().probes
    assert probes is not None
    sent = [body for _, body in vllm.requests if body.get("logprobs") == 1]
    words = [len(body["prompt"].split()) for body in sent]
    assert (probes.requests, probes.prompt_tokens) == (len(sent), sum(words))
    assert (probes.generation_tokens, probes.failed, probes.in_progress) == (8 * len(sent), 0, 0)
    vllm.status = 500
    world.go_live("bank-ledger", "v1.1")
    await until(lambda: (found := request_path.sync.status().probes) is not None
                and found.failed > 0, "a probe fails")  # fmt: skip


def test_what_a_real_vllm_counted_of_known_requests_is_explained(tmp_path: Path) -> None:
    """The requests of EXPECTED, as the router would have recorded them."""
    warehouse, server = Warehouse(tmp_path), Server()
    unknown = {"input_tokens": None, "output_tokens": None}
    for text, moment in ((FRESH, 0), (USED, 60)):
        found = parse_vllm(text)
        assert found.started is not None
        server.started, server.counters = found.started, found.counters
        warehouse.sample(moment, server)
    for prompt, answer in ((16, 16), (16, 48), (5, 32), (16, 5), (3, 300)):
        warehouse.event(10, 11, input_tokens=prompt, output_tokens=answer)
    warehouse.event(12, 13, status=400, error="upstream_refused", **unknown)
    warehouse.event(14, 15, status=503, error="release_not_loaded", **unknown)
    warehouse.event(16, 17, status=499, error="client_closed", input_tokens=16, output_tokens=10)
    report = warehouse.report()
    assert report.explained
    assert shares(report, "requests") == {}
    assert shares(report, "prompt_tokens") == {"choices": 32}
    assert shares(report, "generation_tokens") == {}


class MetricsServer:
    """Answers /metrics with a text, or with nothing at all."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.status = 200
        self.host = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _metrics(self, request: web.Request) -> web.Response:
        self.host = request.headers["Host"]
        return web.Response(text=self.text, status=self.status)


def config(tmp_path: Path, url: str, **changes: Any) -> ReconciliationConfig:
    source = {"kind": "vllm", "name": "vllm", "url": url, "pools": ["slm"], "max_model_len": 64}
    values = {
        "warehouse_uri": f"file://{tmp_path}/warehouse",
        "sources": [source],
        "timeout_s": 2,
        "interval_s": 0.05,
    }
    return ReconciliationConfig.model_validate(values | changes)


def samples_of(config: ReconciliationConfig) -> list[Sample]:
    store = open_store(config.warehouse_uri)
    moments = sampled(store, "vllm")
    return read_samples(store, "vllm", moments.began, moments.ended) if moments else []


def until_sampled(config: ReconciliationConfig) -> None:
    deadline = time.monotonic() + 30
    while not samples_of(config):
        assert time.monotonic() < deadline, "no sample was stored"
        time.sleep(0.02)


async def test_samples_of_a_server_become_its_growth(tmp_path: Path) -> None:
    server = MetricsServer(FRESH)
    async with serving(server.application()) as url:
        settings = config(tmp_path, url)
        store = open_store(settings.warehouse_uri)
        assert await asyncio.to_thread(take, settings, store)
        server.text = USED
        assert await asyncio.to_thread(take, settings, store)
    coverage = cover(readings(samples_of(settings)), dt.timedelta())
    assert coverage is not None
    assert coverage.increments == EXPECTED
    assert server.host == url.removeprefix("http://")


async def test_a_server_that_is_down_is_a_sample_that_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = config(tmp_path, f"http://127.0.0.1:{port}")
    assert await asyncio.to_thread(take, settings, open_store(settings.warehouse_uri))
    (sample,) = samples_of(settings)
    (server,) = sample.servers
    assert (server.server, server.up) == (f"127.0.0.1:{port}", False)
    assert "refused" in server.reason
    assert readings([sample]) == []


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [("busy", 503, "503"), ("# nothing\n", 200, "is this a vLLM server")],
)
async def test_a_server_that_answers_something_else_is_not_up(
    tmp_path: Path, text: str, status: int, reason: str
) -> None:
    server = MetricsServer(text)
    server.status = status
    async with serving(server.application()) as url:
        settings = config(tmp_path, url)
        await asyncio.to_thread(take, settings, open_store(settings.warehouse_uri))
    ((found,),) = (sample.servers for sample in samples_of(settings))
    assert not found.up
    assert reason in found.reason


def test_a_host_that_nobody_knows_is_not_up() -> None:
    source = VllmSource(
        name="vllm", url="http://nobody.invalid:8000", pools=("slm",), max_model_len=64
    )
    (server,) = scrape(source, dt.datetime.now(dt.UTC), 1).servers
    assert not server.up
    assert server.reason.startswith("nobody.invalid: ")


async def test_every_address_of_a_host_is_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_pods(*_: Any, **__: Any) -> list[Any]:
        found = [(socket.AF_INET, None, 0, "", (f"127.0.0.{number}", 0)) for number in (1, 2, 1)]
        return [*found, (socket.AF_INET6, None, 0, "", ("::1", 0, 0, 0))]

    server = MetricsServer(USED)
    async with serving(server.application()) as url:
        port = url.rpartition(":")[2]
        source = config(tmp_path, f"http://pods.inference:{port}").counted[0]
        with monkeypatch.context() as patch:
            patch.setattr("serving.reconciliation.scrape._resolve", lambda _: ["127.0.0.1"])
            sample = await asyncio.to_thread(scrape, source, dt.datetime.now(dt.UTC), 2)
        assert [each.server for each in sample.servers] == [f"127.0.0.1:{port}"]
        assert server.host == f"pods.inference:{port}"
    monkeypatch.setattr("socket.getaddrinfo", two_pods)
    from serving.reconciliation.scrape import _resolve

    assert _resolve("pods.inference") == ["127.0.0.1", "127.0.0.2"]


def test_the_sampler_goes_on_when_the_store_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(tmp_path, "http://127.0.0.1:9")
    store = open_store(settings.warehouse_uri)
    (tmp_path / "warehouse" / "counters").write_text("in the way")
    assert not take(settings, store)
    assert "vllm is not stored" in caplog.text
    (tmp_path / "warehouse" / "counters").unlink()
    stop = threading.Event()
    following = threading.Thread(target=follow, args=(settings, store, stop))
    following.start()
    until_sampled(settings)
    stop.set()
    following.join(20)
    assert not following.is_alive()


def test_the_process_samples_once_more_when_it_is_stopped(tmp_path: Path) -> None:
    settings = config(tmp_path, "http://127.0.0.1:9", interval_s=3600.0)
    path = tmp_path / "config.json"
    path.write_text(settings.model_dump_json())
    command = [sys.executable, "-m", "serving.reconciliation.sample", "--config", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    until_sampled(settings)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert len(samples_of(settings)) == 2
    once = subprocess.run([*command, "--once"], cwd=ROOT, capture_output=True, check=False)
    assert once.returncode == 0
    assert len(samples_of(settings)) == 3


def test_a_configuration_that_cannot_be_used_is_status_2(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"warehouse_uri": "file:///w", "sources": [{"kind": "vlm"}]}')
    command = [sys.executable, "-m", "serving.reconciliation.sample", "--config", str(path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert f"sampler: {path}: sources.0" in process.stderr
