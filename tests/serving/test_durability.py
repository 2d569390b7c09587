"""In the kernel's own words: the event is on the disk before the last byte is on its way.

The router runs under strace. What its system calls say is compared: the end of the fdatasync that
covers a request's event, and the sends on the socket of its client.
"""

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from router_process import RouterProcess
from stand_in_vllm import StandInVllm
from world import World, loaded, running_sync, serving, until

from serving.ledger import read_events

_CALLS = "fdatasync,write,writev,sendto,sendmsg"


def _why_not() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed (package strace)"
    probe = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], check=False, capture_output=True, text=True
    )
    return f"strace cannot trace here: {probe.stderr.strip()}" if probe.returncode else None


@dataclass(frozen=True)
class Answered:
    """What the client of one request saw."""

    port: int
    raw: bytes
    request_id: str | None


@dataclass(frozen=True)
class Calls:
    """Positions of system calls in a trace."""

    lines: list[str]

    def synced(self, request_id: str) -> int:
        """Where the fdatasync that covers a request's event has returned."""
        mark = rf"\"kind\":\"event\",\"request_id\":\"{request_id}\""
        written = next(
            number
            for number, line in enumerate(self.lines)
            if " write(" in line and mark in line and "/ledger/segment-" in line
        )
        thread = self.lines[written].split()[0]
        for number in range(written + 1, len(self.lines)):
            line = self.lines[number]
            if line.startswith(f"{thread} ") and "fdatasync" in line and line.endswith("= 0"):
                return number
        raise AssertionError(f"no fdatasync after the event of {request_id}")

    def sends(self, client: Answered, router_port: int) -> list[int]:
        """Where sends to a client begin."""
        connection = f"<TCP:[127.0.0.1:{router_port}->127.0.0.1:{client.port}]>"
        calls = re.compile(r"(sendto|sendmsg|write|writev)\(\d+" + re.escape(connection))
        return [number for number, line in enumerate(self.lines) if calls.search(line)]


@dataclass
class Traced:
    """A router under strace, with a live release."""

    world: World
    vllm: StandInVllm
    url: str
    key: str
    process: asyncio.subprocess.Process
    trace: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def ask(self, body: dict[str, object], *, leave_after: int | None = None) -> Answered:
        """Send a request over a connection of its own and read to the end, or leave before."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        own_port = writer.get_extra_info("sockname")[1]
        data = json.dumps({"model": "slm", "messages": [], **body}).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nConnection: close\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (self.key.encode(), len(data), data)
        )
        raw = await (reader.read() if leave_after is None else reader.readexactly(leave_after))
        if leave_after is not None:
            # A reset, so that the router notices at once.
            linger = b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        writer.close()
        request_id = re.search(rb"X-Request-Id: ([0-9a-f]{32})", raw)
        return Answered(own_port, raw, request_id[1].decode() if request_id else None)

    async def calls(self) -> Calls:
        """End the router and read what it did."""
        await self.stop()
        return Calls(self.trace.read_text().splitlines())

    async def stop(self) -> None:
        """End the router, so that the trace is whole."""
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
            # Process ids are padded.
            ended = re.compile(rf"^{self.process.pid} +\+\+\+ exited with 0", re.MULTILINE)
            await until(
                lambda: ended.search(self.trace.read_text()) is not None,
                "the trace is whole",
                seconds=60,
            )


@pytest.fixture
async def traced(world: World) -> AsyncIterator[Traced]:
    if reason := _why_not():
        pytest.skip(reason)
    vllm = StandInVllm()
    trace = world.root / "trace"
    key = world.domain("bank-ledger")
    world.go_live("bank-ledger", "v1.0")
    # -D: the router is our child, and strace stands beside it.
    command = (
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        "100000",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(trace),
    )
    async with (
        serving(vllm.application()) as vllm_url,
        running_sync(world, vllm_url) as (sync_url, sync),
    ):
        await until(lambda: loaded(sync, "bank-ledger", "v1.0"), "the adapter is loaded")
        config = world.router_config(vllm_url, sync_url)
        router = await RouterProcess.start(config, world.root, *command)
        running = Traced(world, vllm, router.url, key, router.process, trace)
        try:
            await _until_live(running)
            yield running
        finally:
            await running.stop()


async def _until_live(traced: Traced) -> None:
    async with asyncio.timeout(60):
        while not (await traced.ask({})).raw.startswith(b"HTTP/1.1 200"):
            await asyncio.sleep(0.1)


async def test_fdatasync_comes_before_the_last_byte(traced: Traced) -> None:
    whole = await traced.ask({"max_tokens": 5})
    stream = await traced.ask({"max_tokens": 20, "stream": True})
    traced.vllm.status = 500
    failed = await traced.ask({})
    traced.vllm.status = None
    traced.vllm.fail_in_stream = True
    broken = await traced.ask({"max_tokens": 20, "stream": True})
    calls = await traced.calls()
    assert whole.raw.startswith(b"HTTP/1.1 200")
    assert b"data: [DONE]" in stream.raw
    assert failed.raw.startswith(b"HTTP/1.1 502")
    assert b"upstream_broke_off" in broken.raw
    for client, request_id in (
        (whole, whole.request_id),
        (stream, stream.request_id),
        (broken, broken.request_id),
        (failed, _failed_id(traced, broken)),
    ):
        assert request_id is not None
        sends = calls.sends(client, traced.port)
        assert sends, "the trace shows no send to the client"
        assert calls.synced(request_id) < sends[-1]


async def test_whoever_left_is_sent_nothing_once_the_event_is_written(traced: Traced) -> None:
    traced.vllm.token_delay_s = 0.02
    left = await traced.ask({"max_tokens": 10_000, "stream": True}, leave_after=800)
    await until(lambda: traced.vllm.cancelled == 1, "the work is cancelled", seconds=60)
    calls = await traced.calls()
    assert b"[DONE]" not in left.raw
    assert left.request_id is not None
    sends = calls.sends(left, traced.port)
    assert sends
    assert calls.synced(left.request_id) > sends[-1]
    events = {each.request_id: each for each in read_events(traced.world.ledger_dir).events}
    assert events[left.request_id].status == 499


def _failed_id(traced: Traced, broken: Answered) -> str:
    """The error has no id in its headers: it is the other 502."""
    (found,) = (
        event.request_id
        for event in read_events(traced.world.ledger_dir).events
        if event.status == 502 and event.request_id != broken.request_id
    )
    return found
