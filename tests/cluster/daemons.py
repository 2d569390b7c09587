"""Processes in the background, each with its log and an end that is waited for."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stacks.paths import ROOT
from tools.setup.node_packages import search_path

_STOP_S = 20
_LAST_LINES = 30


@dataclass(frozen=True)
class Daemon:
    """A process that runs until the test is over."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            RuntimeError: It ended; with its last lines.
        """
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join([f"--- {self.log}", *lines])

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until it is ready; a connection that is refused means not yet.

        Raises:
            RuntimeError: It ended, or was not ready in time; with its last lines.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            self.check()
            with contextlib.suppress(OSError):
                if ready():
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} was not ready within {timeout_s:.0f} s\n{self.tail()}")


@contextlib.contextmanager
def daemon(
    name: str, argv: Sequence[str], logs: Path, *, prefix: Sequence[str] = ()
) -> Iterator[Daemon]:
    """Run a process until the block ends.

    Args:
        name: What messages and the log call it.
        argv: The command.
        logs: Folder of the log.
        prefix: A command that runs the command, such as `nsenter`.
    """
    log = logs / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*_bound(), *prefix, *argv],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Daemon(name, process, log)
    finally:
        _stop(process)


def _bound() -> list[str]:
    """Prefix with which the kernel ends a process when the tests are killed, where there is one."""
    program = shutil.which("setpriv", path=search_path())
    return [program, "--pdeathsig=KILL"] if program else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        # The group, because a prefix such as `nsenter` passes no signal on.
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_S)
