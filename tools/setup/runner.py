"""Runs steps in lanes side by side, each command with its output in a log file."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence

from tools.setup import stamps
from tools.setup.console import Console
from tools.setup.failure import explain
from tools.setup.model import Command, Layout, Step


class SetupError(Exception):
    """A step failed; the message says which, why and what to do."""


class _CommandError(Exception):
    def __init__(self, why: str, argv: Sequence[str]) -> None:
        super().__init__(why)
        self.argv = argv


class Runner:
    """Runs the steps that are not up to date."""

    def __init__(self, layout: Layout, console: Console) -> None:
        self._layout = layout
        self._console = console
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failures: list[str] = []

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps; the first failure stops all lanes.

        Raises:
            SetupError: when a step failed.
            KeyboardInterrupt: passed on, once the children have ended.
        """
        lanes = {step.lane: [s for s in steps if s.lane == step.lane] for step in steps}
        threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in lanes.values()]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._halt()
            for thread in threads:
                thread.join()
            raise
        if self._failures:
            raise SetupError("\n\n".join(self._failures))

    def _lane(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self._stopping.is_set():
                return
            self._console.start(step.name, step.title)
            try:
                self._step(step)
            except (OSError, _CommandError) as error:
                self._fail(step, error)
                return
            self._console.end(step.name, "✓")

    def _step(self, step: Step) -> None:
        stamps.begin(self._layout, step)
        log = self._layout.log(step.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        for command in step.commands:
            self._command(step, command)
        stamps.finish(self._layout, step)

    def _fail(self, step: Step, error: Exception) -> None:
        if self._stopping.is_set():
            self._console.end(step.name, "-", "stopped")
            return
        self._console.end(step.name, "✗", "failed")
        log = self._layout.log(step.name)
        text = log.read_text(errors="replace") if log.exists() else ""
        argv = error.argv if isinstance(error, _CommandError) else ()
        self._failures.append(explain(step.name, str(error), log, f"{text}\n{error}", argv))
        self._halt()

    def _command(self, step: Step, command: Command) -> None:
        with self._layout.log(step.name).open("a") as log:
            log.write(f"$ {' '.join(command.argv)}\n")
            log.flush()
            child = self._spawn(command)
            try:
                for line in child.stdout or ():
                    log.write(line)
                    log.flush()
                    self._console.tail(step.name, line)
                code = child.wait()
            finally:
                with self._lock:
                    self._children.discard(child)
        if code != 0:
            raise _CommandError(_ending(code), command.argv)

    def _spawn(self, command: Command) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopping.is_set():
                raise _CommandError("stopped", command.argv)
            # A session of its own, so that a stop reaches the compilers that a child starts.
            child = subprocess.Popen(
                command.argv,
                cwd=self._layout.root / command.cwd,
                env=_environment(self._layout),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._children.add(child)
        return child

    def _halt(self) -> None:
        with self._lock:
            self._stopping.set()
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)


def _ending(code: int) -> str:
    if code < 0:
        return f"the command was ended by {signal.Signals(-code).name}"
    return f"the command ended with exit code {code}"


def _environment(layout: Layout) -> dict[str, str]:
    own = [layout.tools / "uv" / "bin", layout.go, layout.python.parent]
    return {
        # A large wheel over a slow line takes longer than the clients' own patience.
        "UV_HTTP_TIMEOUT": "300",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **{k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONHOME"}},
        "PATH": os.pathsep.join([*map(str, own), os.environ.get("PATH", os.defpath)]),
        "UV_PYTHON": str(layout.python),
        "UV_NO_PROGRESS": "1",
    }
