"""What a workload is on this machine: a spec file, its configuration files, and a program."""

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from substrates.local.supervisor import Supervisor

_POLL_S = 0.2
# Even a service without a health check takes a moment to count as started.
_MIN_START_S = 30.0
_LOG_TAIL_LINES = 15


class WorkloadError(Exception):
    """A workload that does not start or failed; the message holds the end of its log."""


@dataclass(frozen=True)
class Spec:
    """Inputs of a process or job resource, as they lie on disk."""

    name: str
    job: bool
    command: list[str]
    cwd: str
    environment: dict[str, str]
    files: dict[str, str]
    ports: dict[str, int]
    health_url: str
    health_timeout_s: float
    stop_timeout_s: int


class Workloads:
    """The workloads below one environment directory."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._supervisor = Supervisor(home)

    def start_service(self, spec: Spec) -> None:
        """Start or restart a service and wait until it is healthy.

        Raises:
            WorkloadError: A port is taken by another program, or it does not become healthy; the
                program is removed again.
        """
        self._supervisor.remove(spec.name)
        self._refuse_taken_ports(spec)
        self._write(spec)
        token = self._supervisor.start(
            spec.name,
            spec=self._spec_file(spec.name),
            restart=True,
            stop_timeout_s=spec.stop_timeout_s,
        )
        try:
            self._wait_healthy(spec)
        except BaseException:
            self._supervisor.remove(spec.name, token=token)
            raise

    def start_job(self, spec: Spec, *, wait_s: float | None) -> None:
        """Start a job from the beginning and, when asked, wait for its end.

        Raises:
            WorkloadError: It failed or did not end in time.
        """
        self._supervisor.remove(spec.name)
        self._exit_status_file(spec.name).unlink(missing_ok=True)
        self._write(spec)
        self._supervisor.start(
            spec.name,
            spec=self._spec_file(spec.name),
            restart=False,
            stop_timeout_s=spec.stop_timeout_s,
        )
        if wait_s is not None:
            self._wait_done(spec.name, wait_s)

    def remove(self, name: str) -> None:
        """Stop a workload and remove its files; the log stays."""
        self._supervisor.remove(name)
        shutil.rmtree(self._directory(name), ignore_errors=True)

    def read_spec(self, name: str) -> dict[str, Any] | None:
        """The spec on disk; None when there is none."""
        try:
            spec: dict[str, Any] = json.loads(self._spec_file(name).read_text())
        except (OSError, json.JSONDecodeError):
            return None
        files = self._directory(name) / "files"
        spec["files"] = {
            path.name: path.read_text() for path in sorted(files.glob("*")) if path.is_file()
        }
        return spec

    def service_state(self, name: str) -> dict[str, Any]:
        """`status` (running or stopped), `pid` and `started_at` (seconds since 1970)."""
        info = self._supervisor.info(name)
        running = info is not None and info["statename"] in {"RUNNING", "STARTING"}
        if info is None or not running:
            return {"status": "stopped", "pid": 0, "started_at": 0}
        return {"status": "running", "pid": info["pid"], "started_at": info["start"]}

    def job_state(self, name: str) -> str:
        """`running`, `succeeded`, `failed (exit status N)` or `lost`."""
        finished = self._finished(name)
        if finished:
            return finished
        info = self._supervisor.info(name)
        if info is not None and info["statename"] in {"RUNNING", "STARTING"}:
            return "running"
        # It may have ended between the two looks.
        return self._finished(name) or "lost"

    def log_tail(self, name: str) -> str:
        """The last lines of a workload's log."""
        try:
            lines = self._supervisor.log(name).read_text(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _refuse_taken_ports(self, spec: Spec) -> None:
        for name, port in spec.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise WorkloadError(
                        f"{spec.name}: port {port} ({name}) on 127.0.0.1 is not free "
                        f"({error.strerror}): stop what uses it, or set another port under "
                        "pipeline:environment.ports in the environment's stack file"
                    ) from error

    def _write(self, spec: Spec) -> None:
        directory = self._directory(spec.name)
        shutil.rmtree(directory / "files", ignore_errors=True)
        (directory / "files").mkdir(parents=True)
        for name, content in spec.files.items():
            (directory / "files" / name).write_text(content)
        body = {key: value for key, value in vars(spec).items() if key != "files"}
        self._spec_file(spec.name).touch(mode=0o600)
        self._spec_file(spec.name).write_text(json.dumps(body))

    def _wait_healthy(self, spec: Spec) -> None:
        deadline = time.monotonic() + max(spec.health_timeout_s, _MIN_START_S)
        while True:
            state = self._supervisor.info(spec.name)
            if state is None or state["statename"] in {"FATAL", "EXITED", "STOPPED"}:
                raise WorkloadError(f"{spec.name} does not start:\n{self.log_tail(spec.name)}")
            if state["statename"] == "RUNNING" and _answers(spec.health_url):
                return
            if time.monotonic() > deadline:
                limit = max(spec.health_timeout_s, _MIN_START_S)
                asked = f" ({spec.health_url})" if spec.health_url else ""
                raise WorkloadError(
                    f"{spec.name} is not healthy after {limit:.0f} s{asked}:\n"
                    f"{self.log_tail(spec.name)}"
                )
            time.sleep(_POLL_S)

    def _wait_done(self, name: str, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while (state := self.job_state(name)) == "running":
            if time.monotonic() > deadline:
                raise WorkloadError(f"job {name} is not done after {wait_s:.0f} s")
            time.sleep(_POLL_S)
        if state != "succeeded":
            raise WorkloadError(f"job {name} {state}:\n{self.log_tail(name)}")

    def _finished(self, name: str) -> str | None:
        try:
            status = self._exit_status_file(name).read_text()
        except OSError:
            return None
        return "succeeded" if status == "0" else f"failed (exit status {status})"

    def _directory(self, name: str) -> Path:
        return self._home / "workloads" / name

    def _spec_file(self, name: str) -> Path:
        return self._directory(name) / "spec.json"

    def _exit_status_file(self, name: str) -> Path:
        return self._directory(name) / "exit_status"


def _answers(url: str) -> bool:
    if not url:
        return True
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  our own loopback URL
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False
