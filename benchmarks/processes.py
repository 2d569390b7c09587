"""Processes that a benchmark starts, and waits for, and stops."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_HOST = "127.0.0.1"
_FIRST_PORT = 20_000
_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def python(environment: str) -> str:
    """The interpreter of one of the project's environments, such as `.venv-serving`."""
    return str(ROOT / environment / "bin" / "python")


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on.

    Not one that the system gives to outgoing connections: any of those could take it before the
    caller's server does.
    """
    first_outgoing = int(_OUTGOING_PORTS.read_text().split()[0])
    for _ in range(100):
        port = random.randrange(_FIRST_PORT, first_outgoing)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((_HOST, port))
            return port
    raise OSError(f"no free port on {_HOST} between {_FIRST_PORT} and {first_outgoing}")


def say(message: str) -> None:
    """Progress, on stderr: stdout ends with the result."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S', time.gmtime())} {message}\n")


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    ready_url: str,
    timeout_s: float = 60,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own until the block ends.

    Raises:
        RuntimeError: It ended, or did not answer `ready_url` in time; names the log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        _wait(process, ready_url, timeout_s, log)
        yield process
    finally:
        _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, timeout_s: float, log: Path) -> None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: see {log}")
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310  our own process
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {timeout_s:.0f} s: see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            continue
        return
