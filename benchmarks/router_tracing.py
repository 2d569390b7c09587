"""What traces cost the router: requests through routers with and without them, by turns."""

import asyncio
import contextlib
import statistics
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import ROOT, free_port, python, running, say

CLIENTS: Final = 16
_PER_TURN: Final = 320
_NAMES: Final = ("plain", "traced", "hanging")
# Small enough that what hangs overflows within the run.
_HANGING: Final = {"queue": 256, "timeout_s": 2}
_DROPPED: Final = "router_traces_dropped_total{"

Load = Callable[[str, int], Awaitable[int]]
"""Sends a number of requests to the named router, from CLIENTS clients; gives the failed ones."""


@dataclass(frozen=True)
class Receivers:
    """Two receivers of traces."""

    swallowing: str
    hanging: str

    def configurations(self) -> dict[str, dict[str, Any]]:
        """`tracing` of the routers that are compared, by name."""
        return {
            "traced": {"target": _otlp(self.swallowing)},
            "hanging": {"target": _otlp(self.hanging), **_HANGING},
        }


@contextlib.contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    """Start both."""
    urls = []
    with contextlib.ExitStack() as stack:
        for name, options in (("swallowing", []), ("hanging", ["--hang"])):
            port = free_port()
            script = [python(".venv-serving"), str(ROOT / "benchmarks/trace_receiver.py")]
            stack.enter_context(
                running(
                    [*script, "--port", str(port), *options],
                    log=folder / f"{name}.log",
                    ready_url=f"http://127.0.0.1:{port}/",
                )
            )
            urls.append(f"http://127.0.0.1:{port}")
        yield Receivers(*urls)


async def compare(
    load: Load, cpu_seconds: Callable[[str], float], metrics: dict[str, str], requests: int
) -> dict[str, Any]:
    """Throughput of the routers `plain`, `traced` and `hanging`, by turns.

    Args:
        load: What sends requests.
        cpu_seconds: CPU time of a router's process so far.
        metrics: URL of each router's metrics.
        requests: How many each router gets, at least.

    Returns:
        Ratios are of throughput, the router's own against that of `plain` in the same turn; the
        median of the turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in _NAMES}
    failed = dict.fromkeys(_NAMES, 0)
    turns = max(4, requests // _PER_TURN)
    say(f"tracing: {turns} turns of {_PER_TURN} requests to each of {', '.join(_NAMES)}")
    for name in _NAMES:
        await load(name, _PER_TURN)
    before = {name: cpu_seconds(name) for name in _NAMES}
    for turn in range(turns):
        for name in _NAMES[turn % 3 :] + _NAMES[: turn % 3]:
            started = time.perf_counter()
            failed[name] += await load(name, _PER_TURN)
            seconds[name].append(time.perf_counter() - started)
    await asyncio.sleep(1)
    cpu = {name: (cpu_seconds(name) - before[name]) / turns / _PER_TURN for name in _NAMES}
    return {
        "tracing_throughput_ratio": _ratio(seconds, "traced"),
        "tracing_cpu_us_per_request": round((cpu["traced"] - cpu["plain"]) * 1e6, 1),
        "tracing_plain_cpu_us_per_request": round(cpu["plain"] * 1e6, 1),
        "tracing_failed": failed["traced"],
        "tracing_dropped": _dropped(metrics["traced"]),
        "hanging_collector_throughput_ratio": _ratio(seconds, "hanging"),
        "hanging_collector_failed": failed["hanging"],
        "hanging_collector_dropped": _dropped(metrics["hanging"]),
    }


def _ratio(seconds: dict[str, list[float]], name: str) -> float:
    pairs = zip(seconds["plain"], seconds[name], strict=True)
    return round(statistics.median(plain / other for plain, other in pairs), 3)


def _dropped(metrics_url: str) -> int:
    with urllib.request.urlopen(metrics_url, timeout=10) as response:  # noqa: S310  our own
        lines = response.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(_DROPPED))


def _otlp(url: str) -> dict[str, str]:
    return {"kind": "otlp", "endpoint": f"{url}/v1/traces"}
