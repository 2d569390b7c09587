"""Kills the router under load, tears its ledger, kills its shipper, and counts what is missing.

A real router process in front of the stand-in model server gets SIGKILL at random moments, also
while it starts, and is started again. In between, the end of its ledger is damaged as by a power
cut (only bytes that nobody relies on: see `ledger_faults.damage_tail`), and shippers are killed
before or after each of their writes to the warehouse. At the end, a last router drains, a last
shipper ships, and what the clients saw is compared with the warehouse:

    completed         answers whose last byte reached a client
    lost              of these: without an event in the warehouse
    duplicated        requests with two different events in it
    orphans_expected  intents without an event in the ledger
    orphans_named     of these: in the warehouse, once
    unexplained       requests whose answer began, neither with an event nor named as an orphan
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import multiprocessing.process
import multiprocessing.synchronize
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import duckdb

from benchmarks.ledger_faults import Death, damage_tail, ship_until_killed
from benchmarks.processes import ROOT, free_port, python, running, say
from benchmarks.scratch_registry import ScratchRegistry, write_adapter
from registry.names import Version
from serving.ledger import read_events
from serving.ledger.shipping.config import ShipperConfig

_DOMAIN = "bank-ledger"
_WRITER = "benchmark-router"
_CLIENTS = 16
# Of a shipper's first looks: each writes files, progress, orphans and the writer's state.
_STEPS = 7


@dataclass
class Seen:
    """What the clients received, by request id."""

    began: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)

    def relied_on(self) -> set[str]:
        """Records that must be on the disk."""
        return {f"intent {key}" for key in self.began} | {f"event {key}" for key in self.completed}


@dataclass(frozen=True)
class Bench:
    """Where everything lies, and what the clients need."""

    folder: Path
    config: Path
    """The router's configuration file."""
    url: str
    key: str

    @property
    def shipper(self) -> ShipperConfig:
        """How the ledger is shipped."""
        return ShipperConfig(
            ledger_dir=self.folder / "ledger",
            writer=_WRITER,
            warehouse_uri=f"file://{self.folder}/warehouse",
        )

    def start_router(self) -> "subprocess.Popen[bytes]":
        """Start the router's process."""
        with (self.folder / "router.log").open("ab") as log:
            return subprocess.Popen(
                [python(".venv-serving"), "-m", "serving.router", "--config", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )


async def _until_live(bench: Bench, router: "subprocess.Popen[bytes]") -> None:
    """Wait until the router answers for the release; returns at once when the router has ended."""
    headers = {"Authorization": f"Bearer {bench.key}"}
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while router.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{bench.url}/v1/models", headers=headers) as answer:
                    if f'"{_DOMAIN}-v1.0"' in await answer.text():
                        return
            await asyncio.sleep(0.02)


async def _client(bench: Bench, session: aiohttp.ClientSession, seen: Seen, seed: int) -> None:
    """Ask until the router is gone."""
    dice = random.Random(seed)
    while True:
        try:
            await _ask(bench, session, seen, dice)
        except aiohttp.ClientError:
            return


async def _ask(
    bench: Bench, session: aiohttp.ClientSession, seen: Seen, dice: random.Random
) -> None:
    """One request: whole, streamed, or left in the middle of its stream."""
    streamed = dice.random() < 0.6
    body = {
        "model": "slm",
        "messages": [{"role": "user", "content": "a b c"}],
        "max_tokens": dice.randint(1, 30),
        "stream": streamed,
    }
    async with session.post(
        f"{bench.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {bench.key}"},
    ) as answer:
        request_id = answer.headers.get("X-Request-Id")
        if request_id is None:
            await answer.read()
            return
        seen.began.add(request_id)
        if streamed and dice.random() < 0.1:
            await answer.content.readline()
            answer.close()
            return
        data = await answer.read()
        if not streamed or data.endswith(b"data: [DONE]\n\n"):
            seen.completed.add(request_id)


async def _kill_under_load(bench: Bench, seen: Seen, dice: random.Random) -> bool:
    """Start the router, load it, kill it; whether a shipper died meanwhile."""
    router, died = bench.start_router(), False
    if dice.random() < 0.1:
        await asyncio.sleep(dice.uniform(0, 1.5))
    else:
        await _until_live(bench, router)
        shipper = await _DyingShipper.start(bench, dice)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            clients = [
                asyncio.create_task(_client(bench, session, seen, dice.getrandbits(32)))
                for _ in range(_CLIENTS)
            ]
            shipper.go()
            await asyncio.sleep(dice.uniform(0.02, 0.8))
            router.kill()
            await asyncio.gather(*clients)
        died = await shipper.died()
    router.kill()
    await asyncio.to_thread(router.wait)
    return died


@dataclass(frozen=True)
class _DyingShipper:
    """A shipper in a process of its own that is killed at one of its writes."""

    process: multiprocessing.process.BaseProcess
    begin: multiprocessing.synchronize.Event

    @classmethod
    async def start(cls, bench: Bench, dice: random.Random) -> "_DyingShipper":
        """Bring one up; it waits for `go`."""
        context = multiprocessing.get_context("forkserver")
        ready, begin = context.Event(), context.Event()
        death = Death(step=dice.randint(1, _STEPS), after=dice.random() < 0.5)
        process = context.Process(
            target=ship_until_killed, args=(bench.shipper, death, ready, begin)
        )
        process.start()
        await asyncio.to_thread(ready.wait, 60)
        return cls(process, begin)

    def go(self) -> None:
        """Let it ship."""
        self.begin.set()

    async def died(self) -> bool:
        """Wait for its end; whether it was killed, and not ended by an error."""
        await asyncio.to_thread(self.process.join)
        return self.process.exitcode == -signal.SIGKILL


async def _series(bench: Bench, kills: int, seen: Seen, dice: random.Random) -> Counter[str]:
    """All kills; returns what was done to tails."""
    done: Counter[str] = Counter()
    ledger, warehouse = bench.folder / "ledger", bench.folder / "warehouse"
    for number in range(1, kills + 1):
        done["shippers killed"] += await _kill_under_load(bench, seen, dice)
        if dice.random() < 0.8 and ledger.exists():
            done[damage_tail(ledger, warehouse, _WRITER, seen.relied_on(), dice) or "none"] += 1
        for _ in range(dice.randint(0, 1)):
            shipper = await _DyingShipper.start(bench, dice)
            shipper.go()
            done["shippers killed"] += await shipper.died()
        if number % 10 == 0:
            say(f"{number} kills, {len(seen.completed)} answers completed")
    return done


async def _finish(bench: Bench) -> None:
    """A last router that drains, and a last shipper that finishes."""
    router = bench.start_router()
    await _until_live(bench, router)
    router.terminate()
    await asyncio.to_thread(router.wait)
    file = bench.folder / "shipper.json"
    file.write_text(bench.shipper.model_dump_json())
    with (bench.folder / "shipper.log").open("ab") as log:
        ended = await asyncio.create_subprocess_exec(
            python(".venv-serving"),
            *("-m", "serving.ledger.shipping", "--config", str(file), "--once"),
            cwd=ROOT,
            stderr=log,
        )
        if await ended.wait():
            raise RuntimeError(f"the last shipper failed: see {bench.folder}/shipper.log")


def _compare(bench: Bench, seen: Seen) -> dict[str, int]:
    """What clients and ledger know, against what is in the warehouse."""
    (events, again), (orphans, _) = _ids(bench, "events"), _ids(bench, "orphans")
    expected = {intent.request_id for intent in read_events(bench.folder / "ledger").orphans}
    once = {key for key, rows in orphans.items() if rows == 1}
    return {
        "completed": len(seen.completed),
        "lost": len(seen.completed - events.keys()),
        "duplicated": sum(rows > 1 for rows in events.values()),
        "orphans_named": len(expected & once),
        "orphans_expected": len(expected),
        "orphans_wrong": len(orphans.keys() - expected) + len(orphans.keys() & events.keys()),
        "unexplained": len(seen.began - events.keys() - orphans.keys()),
        "events": len(events),
        "rows_shipped_again": again,
    }


def _ids(bench: Bench, kind: str) -> tuple[Counter[str], int]:
    """Different rows for each request id over all files, and how many rows are repetitions."""
    if not any((bench.folder / "warehouse" / kind).glob("*/*.parquet")):
        return Counter(), 0
    files = bench.folder / "warehouse" / kind / "*" / "*.parquet"
    with duckdb.connect() as connection:
        shipped = connection.read_parquet(str(files))
        rows = shipped.distinct().fetchall()
        return Counter(row[0].hex for row in rows), len(shipped) - len(rows)


@contextlib.asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    """Stand-in server and adapter-sync with one live release."""
    scratch = ScratchRegistry(folder)
    scratch.create()
    key = scratch.domain(_DOMAIN)
    scratch.release(_DOMAIN, Version(1, 0), write_adapter(folder / "adapter"))
    ports = {name: free_port() for name in ("vllm", "adapter_sync", "router")}
    configs = scratch.configs(
        f"http://127.0.0.1:{ports['vllm']}",
        sync_port=ports["adapter_sync"],
        router_port=ports["router"],
    )
    # A router that starts again should serve again soon.
    configs["router"]["poll_interval_s"] = 0.1
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    stand_in = [str(ROOT / "tests/serving/stand_in_vllm.py"), "--port", str(ports["vllm"])]
    sync = ["-m", "serving.adapter_sync", "--config", str(folder / "adapter_sync.json")]
    with (
        running(
            [python(".venv-serving"), *stand_in, "--token-delay-ms", "2"],
            log=folder / "vllm.log",
            ready_url=f"http://127.0.0.1:{ports['vllm']}/health",
        ),
        running(
            [python(".venv-serving"), *sync],
            log=folder / "adapter_sync.log",
            ready_url=f"http://127.0.0.1:{ports['adapter_sync']}/healthz",
        ),
    ):
        yield Bench(folder, folder / "router.json", f"http://127.0.0.1:{ports['router']}", key)


async def _run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    seen, started = Seen(), time.monotonic()
    async with _bench(folder) as bench:
        done = await _series(bench, kills, seen, random.Random(seed))
        await _finish(bench)
    say(f"done to tails and shippers: {dict(done)}; seed {seed}")
    result = {"kills": kills} | _compare(bench, seen)
    return result | {
        "tails_damaged": sum(done[how] for how in ("cut", "zeros", "garbage", "gap")),
        "shippers_killed": done["shippers killed"],
        "seconds": round(time.monotonic() - started),
    }


def main() -> int:
    """Run the series and print one JSON object; 1 when anything is missing or twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and faults")
    parser.add_argument("--folder", type=Path, help="where scratch files go (default: temporary)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledger-", dir=arguments.folder) as scratch:
        result = asyncio.run(_run(Path(scratch) / "bench", arguments.kills, arguments.seed))
    sys.stdout.write(json.dumps(result) + "\n")
    wrong = ("lost", "duplicated", "orphans_wrong", "unexplained")
    whole = result["orphans_named"] == result["orphans_expected"]
    return 0 if whole and not any(result[name] for name in wrong) else 1


if __name__ == "__main__":
    sys.exit(main())
