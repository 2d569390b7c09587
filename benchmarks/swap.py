"""Swaps a domain's live release under load and checks who answers.

Each swap is a release as production makes it: a new version is published, judged and pointed at;
adapter-sync downloads, loads and probes it; the router moves the alias. Meanwhile two domains ask
without pause, and each answer must be that of the release that its `X-Served-Model` names. Answers
can be told apart because every adapter was taught to say one word. One more client asks the base
model itself, which no adapter may answer for.

Runs against a real vLLM on the CPU (`--vllm-url` uses a running one whose base is the same), and
then, with many more swaps, against the stand-in server of the tests (`stub_swaps`).
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.processes import ROOT, free_port, python, running, say
from benchmarks.scratch_registry import BASE, ScratchRegistry
from benchmarks.swap_adapters import PROMPTS
from registry.names import Version, served_name
from stacks.cli.project import Project
from stacks.local_workloads import LocalWorkloads
from stacks.paths import StateDirectory
from substrates.local.substrate import LocalSubstrate

_WORDS = ("amber", "cobalt", "crimson")
_SWAPPED, _STEADY = "bank-ledger", "platform-docs"
_SWAP_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Answers:
    """How an adapter's answers are recognised."""

    adapters: dict[str, Path]
    """Word to adapter folder."""
    says: Callable[[str, str], bool]
    """Whether an answer is that of the adapter of a word."""
    max_tokens: int


@dataclass
class Tally:
    """What the load saw."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    base_answers: int = 0
    spans: list[tuple[float, float, str]] = field(default_factory=list)
    """Start, end and served model of every answer."""


@dataclass
class Load:
    """Clients that ask without pause."""

    session: aiohttp.ClientSession
    url: str
    answers: Answers
    words: dict[str, str]
    """Served name to word; grows with every release."""
    tally: Tally = field(default_factory=Tally)

    async def client(self, key: str, number: int) -> None:
        """Ask until cancelled; every other client streams."""
        turn = number
        while True:
            started = time.monotonic()
            try:
                served, text = await self._ask(key, PROMPTS[turn % 4], stream=number % 2 == 1)
            except (aiohttp.ClientError, RuntimeError, ValueError, KeyError) as error:
                self.tally.failures.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.2)
            else:
                self._judge(served, text, started)
            self.tally.requests += 1
            turn += 1

    async def base_client(self, vllm_url: str) -> None:
        """Ask the base model itself until cancelled: no adapter may answer for it."""
        turn = 0
        while True:
            body = {
                "model": BASE,
                "messages": [{"role": "user", "content": PROMPTS[turn % 4]}],
                "max_tokens": self.answers.max_tokens,
                "temperature": 0,
            }
            try:
                async with self.session.post(
                    f"{vllm_url}/v1/chat/completions", json=body
                ) as response:
                    text = _whole(await response.read())
            except (aiohttp.ClientError, ValueError, KeyError) as error:
                self.tally.failures.append(f"base: {type(error).__name__}: {error}")
                await asyncio.sleep(0.2)
                continue
            self.tally.base_answers += 1
            if any(self.answers.says(text, word) for word in self.answers.adapters):
                self.tally.wrong.append(f"the base model answered {text!r}")
            turn += 1

    async def _ask(self, key: str, prompt: str, *, stream: bool) -> tuple[str, str]:
        body = {
            "model": "slm",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.answers.max_tokens,
            "temperature": 0,
            "stream": stream,
        }
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self.url}/v1/chat/completions"
        async with self.session.post(url, json=body, headers=headers) as response:
            data = await response.read()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {data[:300]!r}")
            served = response.headers["X-Served-Model"]
        return served, _streamed(data) if stream else _whole(data)

    def _judge(self, served: str, text: str, started: float) -> None:
        self.tally.spans.append((started, time.monotonic(), served))
        if not self.answers.says(text, self.words[served]):
            self.tally.wrong.append(f"{served} ({self.words[served]}) answered {text!r}")


def _whole(data: bytes) -> str:
    return str(json.loads(data)["choices"][0]["message"]["content"])


def _streamed(data: bytes) -> str:
    if not data.endswith(b"data: [DONE]\n\n"):
        raise RuntimeError(f"the stream broke off: {data[-300:]!r}")
    chunks = [json.loads(e[6:]) for e in data.split(b"\n\n") if e.startswith(b"data: {")]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def _swap_series(
    scratch: ScratchRegistry,
    url: str,
    vllm_url: str,
    answers: Answers,
    *,
    swaps: int,
    clients: int,
) -> dict[str, Any]:
    """Release the first versions, put load on, swap, and count."""
    words = list(answers.adapters)
    keys = {name: scratch.domain(name) for name in (_SWAPPED, _STEADY)}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
        load = Load(session, url, answers, {})

        async def go(domain: str, version: Version, word: str) -> tuple[float, float]:
            load.words[served_name(domain, version)] = word
            began = time.monotonic()
            await asyncio.to_thread(scratch.release, domain, version, answers.adapters[word])
            await _until_served(session, url, keys[domain], served_name(domain, version))
            return began, time.monotonic()

        await go(_SWAPPED, Version(1, 0), words[0])
        await go(_STEADY, Version(1, 0), words[-1])
        tasks = [
            asyncio.create_task(load.client(keys[(_SWAPPED, _STEADY)[number % 3 == 2]], number))
            for number in range(clients)
        ]
        tasks.append(asyncio.create_task(load.base_client(vllm_url)))
        moves = []
        for number in range(1, swaps + 1):
            try:
                moves.append(await go(_SWAPPED, Version(1, number), words[number % 2]))
            except TimeoutError:
                say(f"swap {number} did not happen within {_SWAP_TIMEOUT_S:.0f} s: ending early")
                break
            took = moves[-1][1] - moves[-1][0]
            if number % max(1, swaps // 20) == 0:
                say(f"swap {number} of {swaps}: {took:.2f} s, {load.tally.requests} requests")
            await asyncio.sleep(min(1.0, took))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return _summary(load.tally, moves)


async def _until_served(session: aiohttp.ClientSession, url: str, key: str, name: str) -> None:
    """Wait until the alias leads to a release: /v1/models says where it leads."""
    headers = {"Authorization": f"Bearer {key}"}
    async with asyncio.timeout(_SWAP_TIMEOUT_S):
        while True:
            async with session.get(f"{url}/v1/models", headers=headers) as response:
                body = await response.json()
            leads = {model["id"]: model["root"] for model in body.get("data", [])}
            if leads.get("slm") == name:
                return
            await asyncio.sleep(0.05)


def _summary(tally: Tally, moves: list[tuple[float, float]]) -> dict[str, Any]:
    durations = sorted(end - start for start, end in moves) or [float("inf")]
    spanning = sum(any(start < moved < end for _, moved in moves) for start, end, _ in tally.spans)
    for line in [*tally.failures[:5], *tally.wrong[:5]]:
        say(line)
    return {
        "swaps": len(moves),
        "requests": tally.requests,
        "base_model_answers": tally.base_answers,
        "failed_requests": len(tally.failures),
        "wrong_version_answers": len(tally.wrong),
        "spanning_requests": spanning,
        "p50_s": round(statistics.median(durations), 3),
        "p95_s": round(durations[min(len(durations) - 1, int(len(durations) * 0.95))], 3),
    }


@contextlib.contextmanager
def _path(folder: Path, vllm_url: str) -> Iterator[tuple[ScratchRegistry, str]]:
    """Adapter-sync and router in front of a model server, on a scratch registry."""
    scratch = ScratchRegistry(folder)
    scratch.create()
    router_port, sync_port = free_port(), free_port()
    configs = scratch.configs(vllm_url, sync_port=sync_port, router_port=router_port)
    configs["adapter_sync"] |= {"interval_s": 0.5, "retire_grace_s": 20}
    configs["router"]["poll_interval_s"] = 0.5
    with contextlib.ExitStack() as stack:
        for name, config in configs.items():
            file = folder / f"{name}.json"
            file.write_text(json.dumps(config))
            stack.enter_context(
                running(
                    [python(".venv-serving"), "-m", f"serving.{name}", "--config", str(file)],
                    log=folder / f"{name}.log",
                    ready_url=f"http://127.0.0.1:{config['listen']['port']}/healthz",
                )
            )
        yield scratch, f"http://127.0.0.1:{router_port}"


@contextlib.contextmanager
def _vllm(base: Path, log: Path) -> Iterator[str]:
    """The model server of the local environment, on a port of its own."""
    environment = Project.default().environment("local").environment
    ports = environment.ports.model_copy(update={"vllm": free_port()})
    workloads = LocalWorkloads(
        environment.model_copy(update={"ports": ports}),
        StateDirectory(base.parent.parent),
        LocalSubstrate(root=ROOT, home=log.parent),
    )
    service = workloads.vllm()
    url = f"http://127.0.0.1:{ports.vllm}"
    say("starting vLLM (a minute or more)")
    with running(
        list(service.command),
        log=log,
        ready_url=f"{url}/health",
        timeout_s=600,
        env=service.environment,
    ):
        yield url


def _real(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    words_dir: Path = arguments.adapters or folder / "words"
    missing = [word for word in _WORDS if not (words_dir / word / "adapter_config.json").is_file()]
    if missing:
        say(f"teaching {', '.join(missing)} (a minute or more each)")
        teach = [python(".venv-train"), "-m", "benchmarks.swap_adapters", "--base"]
        teach += [str(arguments.base), "--out", str(words_dir), *missing]
        subprocess.run(teach, cwd=ROOT, check=True)
    answers = Answers(
        adapters={word: words_dir / word for word in _WORDS},
        says=lambda text, word: text.strip().startswith(word),
        max_tokens=6,
    )
    with contextlib.ExitStack() as stack:
        url = arguments.vllm_url or stack.enter_context(_vllm(arguments.base, folder / "vllm.log"))
        scratch, router_url = stack.enter_context(_path(folder / "real", url))
        return asyncio.run(
            _swap_series(
                scratch,
                router_url,
                url,
                answers,
                swaps=arguments.swaps,
                clients=arguments.clients,
            )
        )


def _stub(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    adapters = {}
    for word in _WORDS:
        adapters[word] = folder / "stub-words" / word
        adapters[word].mkdir(parents=True)
        header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
        weights = len(header).to_bytes(8, "little") + header + word.encode().ljust(8)
        (adapters[word] / "adapter_model.safetensors").write_bytes(weights)
        (adapters[word] / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": BASE})
        )

    def says(text: str, word: str) -> bool:
        weights = (adapters[word] / "adapter_model.safetensors").read_bytes()
        seed = hashlib.sha256(weights).hexdigest()
        return text.split(maxsplit=1)[0] == hashlib.sha256(f"{seed}0".encode()).hexdigest()[:6]

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stand_in = ROOT / "tests/serving/stand_in_vllm.py"
    command = [python(".venv-serving"), str(stand_in), "--port", str(port)]
    command += ["--token-delay-ms", "20"]
    with (
        running(command, log=folder / "stub.log", ready_url=f"{url}/health"),
        _path(folder / "stub", url) as (scratch, router_url),
    ):
        return asyncio.run(
            _swap_series(
                scratch,
                router_url,
                url,
                Answers(adapters, says, 8),
                swaps=arguments.stub_swaps,
                clients=arguments.clients,
            )
        )


def main() -> None:
    """Run both series and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--swaps", type=int, default=20, help="swaps on the real vLLM; 0: none")
    parser.add_argument("--stub-swaps", type=int, default=100, help="on the stand-in; 0: none")
    parser.add_argument("--clients", type=int, default=6, help="concurrent clients")
    parser.add_argument(
        "--base",
        type=Path,
        default=ROOT / ".local/models/SmolLM2-135M-Instruct",
        help="Hugging Face files of the base model, DIR/models/NAME",
    )
    parser.add_argument("--adapters", type=Path, help="taught adapters; made where missing")
    parser.add_argument("--vllm-url", help="use a running vLLM that serves the base as llama-8b")
    parser.add_argument("--folder", type=Path, help="keep registry, adapters and logs here")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="swap-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        result: dict[str, Any] = {}
        if arguments.swaps:
            result |= _real(arguments, folder)
        if arguments.stub_swaps:
            say(f"{arguments.stub_swaps} swaps on the stand-in")
            stub = _stub(arguments, folder)
            result |= {f"stub_{key}": value for key, value in stub.items()}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
