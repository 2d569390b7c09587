"""What the router adds to a request, and what it costs, measured against the stand-in server.

Direct requests and requests through the router alternate, so that what else the machine does
touches both. `cpu_us_*` is the router process's own CPU time. The ledger is on the disk of
`--folder`: its syncs are part of what is measured.

`--tracing` measures instead what traces cost: a router without them, one that sends them to a
receiver in another process, and one whose receiver never answers, by turns.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import router_tracing
from benchmarks.processes import ROOT, free_port, python, running, say
from benchmarks.scratch_registry import BASE, ScratchRegistry, write_adapter
from registry.names import Version

_DOMAIN = "bank-ledger"
_CLOCK_TICKS = 100
_CHUNKS = 200


@dataclass(frozen=True)
class Target:
    """One way to the model server."""

    url: str
    headers: dict[str, str]
    model: str


@dataclass(frozen=True)
class Ways:
    """The ways that are compared, and the router's process id."""

    direct: Target
    routed: Target
    edge: Target | None
    router_pid: int
    others: Mapping[str, tuple[Target, int]]
    """Further routers with their process ids."""


async def _whole(session: aiohttp.ClientSession, target: Target) -> float:
    """Seconds of one plain request."""
    started = time.perf_counter()
    async with session.post(
        f"{target.url}/v1/chat/completions", data=_body(target), headers=target.headers
    ) as response:
        data = await response.read()
    if response.status != 200:
        raise RuntimeError(f"{target.url}: HTTP {response.status}: {data[:300]!r}")
    return time.perf_counter() - started


async def _streamed(session: aiohttp.ClientSession, target: Target, tokens: int) -> list[float]:
    """Seconds between the chunks of one streamed request."""
    body = _body(target, stream=True, max_tokens=tokens)
    gaps, last = [], time.perf_counter()
    async with session.post(
        f"{target.url}/v1/chat/completions", data=body, headers=target.headers
    ) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                now = time.perf_counter()
                gaps.append(now - last)
                last = now
    if response.status != 200 or len(gaps) < tokens:
        raise RuntimeError(f"{target.url}: HTTP {response.status}, {len(gaps)} chunks")
    return gaps[1:]


def _body(target: Target, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Convert this COBOL ledger code to Java: " + "x" * 800}]
    return json.dumps({"model": target.model, "messages": messages} | fields).encode()


async def _latency(
    session: aiohttp.ClientSession, targets: list[Target], requests: int
) -> list[list[float]]:
    """Latencies of each target, one request at a time, alternating."""
    for target in targets:
        for _ in range(20):
            await _whole(session, target)
    samples: list[list[float]] = [[] for _ in targets]
    for _ in range(requests):
        for mine, target in zip(samples, targets, strict=True):
            mine.append(await _whole(session, target))
    return samples


async def _throughput(
    session: aiohttp.ClientSession, target: Target, requests: int, clients: int
) -> None:
    """Send requests from concurrent clients."""

    async def client() -> None:
        for _ in range(requests // clients):
            await _whole(session, target)

    await asyncio.gather(*(client() for _ in range(clients)))


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def _measure(path: Ways, arguments: argparse.Namespace) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        targets = [path.direct, path.routed] + ([path.edge] if path.edge else [])
        say(f"latency: {arguments.requests} requests each, one at a time")
        direct, routed, *edge = await _latency(session, targets, arguments.requests)
        result = {
            "added_p50_ms": _ms(_percentile(routed, 0.5) - _percentile(direct, 0.5)),
            "added_p99_ms": _ms(_percentile(routed, 0.99) - _percentile(direct, 0.99)),
        }
        say(f"throughput: {arguments.requests} requests from 16 clients")
        before = _cpu_seconds(path.router_pid)
        await _throughput(session, path.routed, arguments.requests, 16)
        cpu = (_cpu_seconds(path.router_pid) - before) / (arguments.requests // 16 * 16)
        say(f"streams: {arguments.streams} of {_CHUNKS} chunks each")
        before = _cpu_seconds(path.router_pid)
        gaps: dict[str, list[float]] = {"direct": [], "routed": []}
        for _ in range(arguments.streams):
            gaps["direct"] += await _streamed(session, path.direct, _CHUNKS)
            gaps["routed"] += await _streamed(session, path.routed, _CHUNKS)
        stream_cpu = (_cpu_seconds(path.router_pid) - before) / arguments.streams
        added = _percentile(gaps["routed"], 0.99) - _percentile(gaps["direct"], 0.99)
    return result | {
        "cpu_us_per_request": round(cpu * 1e6),
        "cpu_us_per_chunk": round((stream_cpu - cpu) / _CHUNKS * 1e6, 1),
        "rps_per_core": round(1 / cpu),
        "stream_added_p99_ms": _ms(added),
        "direct_p50_ms": _ms(statistics.median(direct)),
        "envoy_added_p50_ms": _ms(_percentile(edge[0], 0.5) - _percentile(routed, 0.5))
        if edge
        else None,
    }


async def _measure_tracing(ways: Ways, requests: int) -> dict[str, Any]:
    routers = {"plain": (ways.routed, ways.router_pid), **ways.others}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def load(name: str, count: int) -> int:
            each = count // router_tracing.CLIENTS
            clients = (
                _failures(session, routers[name][0], each) for _ in range(router_tracing.CLIENTS)
            )
            return sum(await asyncio.gather(*clients))

        return await router_tracing.compare(
            load,
            lambda name: _cpu_seconds(routers[name][1]),
            {name: f"{target.url}/metrics" for name, (target, _) in routers.items()},
            requests,
        )


async def _failures(session: aiohttp.ClientSession, target: Target, requests: int) -> int:
    failed = 0
    for _ in range(requests):
        try:
            await _whole(session, target)
        except (RuntimeError, aiohttp.ClientError):
            failed += 1
    return failed


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


@contextlib.contextmanager
def _path(folder: Path, traced: Mapping[str, dict[str, Any]]) -> Iterator[Ways]:
    """Stand-in server, adapter-sync and router with one live release, and Envoy where it is.

    `traced` holds the `tracing` section of further routers, by name.
    """
    scratch = ScratchRegistry(folder)
    scratch.create()
    key = scratch.domain(_DOMAIN)
    scratch.release(_DOMAIN, Version(1, 0), write_adapter(folder / "adapter"))
    ports = {name: free_port() for name in ("vllm", "sync", "router", "envoy")}
    urls = {name: _url(port) for name, port in ports.items()}
    stand_in = [python(".venv-serving"), str(ROOT / "tests/serving/stand_in_vllm.py")]
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running(
                [*stand_in, "--port", str(ports["vllm"]), "--token-delay-ms", "1"],
                log=folder / "vllm.log",
                ready_url=f"{urls['vllm']}/health",
            )
        )
        pids = {}
        configs = scratch.configs(
            urls["vllm"], sync_port=ports["sync"], router_port=ports["router"]
        )
        for name, config in configs.items():
            pids[name] = _start(stack, folder, f"serving.{name}", name, config)
        headers = {"Authorization": f"Bearer {key}", "X-Customer-Domain": _DOMAIN}
        routed = Target(urls["router"], headers, "slm")
        others = {}
        for name, tracing in traced.items():
            config = _further_router(configs["router"], folder / f"ledger-{name}", tracing)
            pid = _start(stack, folder, "serving.router", name, config)
            others[name] = replace(routed, url=_url(config["listen"]["port"])), pid
        for target in (routed, *(target for target, _ in others.values())):
            asyncio.run(_until_live(target))
        has_edge = _edge(stack, folder, ports)
        edge = Target(urls["envoy"], headers, "slm") if has_edge else None
        yield Ways(Target(urls["vllm"], {}, BASE), routed, edge, pids["router"], others)


def _start(
    stack: contextlib.ExitStack, folder: Path, module: str, name: str, config: dict[str, Any]
) -> int:
    """Start a serving process until the stack ends; gives its id."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config))
    process = stack.enter_context(
        running(
            [python(".venv-serving"), "-m", module, "--config", str(file)],
            log=folder / f"{name}.log",
            ready_url=f"http://127.0.0.1:{config['listen']['port']}/healthz",
        )
    )
    return process.pid


def _further_router(
    config: dict[str, Any], ledger: Path, tracing: dict[str, Any]
) -> dict[str, Any]:
    return config | {
        "listen": {"port": free_port()},
        "ledger_dir": str(ledger),
        "tracing": tracing,
    }


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def _until_live(target: Target) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(RuntimeError):
                await _whole(session, target)
                return
            await asyncio.sleep(0.2)


def _edge(stack: contextlib.ExitStack, folder: Path, ports: dict[str, int]) -> bool:
    """Start a plain Envoy in front of the router; false where there is none."""
    envoy = next((ROOT / ".venv-edge").glob("**/bin/envoy*"), None)
    if envoy is None:
        return False
    file = folder / "envoy.json"
    file.write_text(json.dumps(_envoy_config(ports)))
    stack.enter_context(
        running(
            [str(envoy), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id"],
            log=folder / "envoy.log",
            ready_url=f"http://127.0.0.1:{ports['envoy']}/healthz",
        )
    )
    return True


def _envoy_config(ports: dict[str, int]) -> dict[str, Any]:
    """One listener, one route, one cluster: the proxy's own share, without the project's routes."""

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    api = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "router"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.http.router.v3.Router"},
            }
        ],
    }
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    endpoint = {"endpoint": {"address": address(ports["router"])}}
    cluster = {
        "name": "router",
        "load_assignment": {
            "cluster_name": "router",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    return {
        "static_resources": {
            "listeners": [{"address": address(ports["envoy"]), "filter_chains": [chain]}],
            "clusters": [cluster],
        }
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000, help="plain requests per target")
    parser.add_argument("--streams", type=int, default=20, help=f"streams of {_CHUNKS} chunks")
    parser.add_argument("--folder", type=Path, help="where scratch files go (default: temporary)")
    parser.add_argument("--tracing", action="store_true", help="measure what traces cost, instead")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(prefix="router-", dir=arguments.folder)
        scratch = Path(stack.enter_context(directory))
        traced = {}
        if arguments.tracing:
            traced = stack.enter_context(router_tracing.receivers(scratch)).configurations()
        ways = stack.enter_context(_path(scratch / "path", traced))
        if arguments.tracing:
            result = asyncio.run(_measure_tracing(ways, arguments.requests))
        else:
            result = asyncio.run(_measure(ways, arguments))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
