"""supervisord as the local process manager: one daemon per environment directory."""

import contextlib
import fcntl
import os
import secrets
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

_START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 120.0
# The kernel's limit for the path of a Unix socket, less one for the terminating zero.
_SOCKET_PATH_LIMIT = 107
# XML-RPC faults of supervisord, see http://supervisord.org/api.html
_ALREADY_ADDED, _BAD_NAME, _NOT_RUNNING = 90, 10, 70

# It splits commands and file lists at these, and expands `%`.
_SPECIAL = frozenset(" \t\n%\"';,")

_CONFIGURATION = """\
[supervisord]
logfile={home}/supervisor/supervisord.log
logfile_maxbytes=5MB
pidfile={home}/supervisor/supervisord.pid
childlogdir={home}/logs
directory={home}

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

[include]
files={home}/supervisor/programs/*.conf
"""

_PROGRAM = """\
; start {token}
[program:{name}]
command={python} {launcher} {spec}
autostart={autostart}
autorestart={autorestart}
startsecs={start_s}
startretries={start_retries}
stopasgroup=true
killasgroup=true
stopwaitsecs={stop_timeout_s}
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


class SupervisorError(Exception):
    """The supervisor cannot do what was asked; the message says what and where to look."""


class Supervisor:
    """The supervisord of one environment directory; started when it is needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._directory = home / "supervisor"
        self._socket = self._directory / "s.sock"

    def ensure_running(self) -> None:
        """Start the daemon unless it answers.

        Raises:
            SupervisorError: It does not come up.
        """
        if odd := sorted(set(str(self._home)) & _SPECIAL):
            raise SupervisorError(
                f"{self._home} contains {odd[0]!r}, which means something else in supervisord's "
                "files: put the project, or PIPELINE_STATE_DIR, in another path"
            )
        if len(str(self._socket)) > _SOCKET_PATH_LIMIT:
            raise SupervisorError(
                f"{self._socket} is longer than a socket path may be ({_SOCKET_PATH_LIMIT} "
                "characters): put the project, or PIPELINE_STATE_DIR, in a shorter path"
            )
        with self._locked():
            if self.alive():
                return
            self._start()

    def alive(self) -> bool:
        """Whether the daemon answers."""
        try:
            return bool(self._rpc().getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Fault, xmlrpc.client.ProtocolError):
            return False

    def start(self, name: str, *, spec: Path, restart: bool, stop_timeout_s: int) -> str:
        """Add or replace a program and start it.

        Args:
            name: Program name.
            spec: What launch.py runs.
            restart: Start it again whenever it ends, and with the daemon.
            stop_timeout_s: Seconds between SIGTERM and SIGKILL.

        Returns:
            A token of this start, for `remove`.
        """
        self.ensure_running()
        token = secrets.token_hex(8)
        with self._locked():
            self._remove(name)
            self._program_file(name).write_text(
                _PROGRAM.format(
                    token=token,
                    name=name,
                    python=sys.executable,
                    launcher=Path(__file__).with_name("launch.py"),
                    spec=spec,
                    autostart=str(restart).lower(),
                    autorestart=str(restart).lower(),
                    # To supervisord, what ends within `startsecs` did not start, and it tries again
                    # whatever autorestart says: a job that fails fast would run twice.
                    start_s=1 if restart else 0,
                    start_retries=5 if restart else 0,
                    stop_timeout_s=stop_timeout_s,
                    log=self.log(name),
                )
            )
            self._rpc().reloadConfig()
            self._rpc().addProcessGroup(name)
            if not restart:
                self._rpc().startProcess(name, False)  # noqa: FBT003  positional in the API
        return token

    def remove(self, name: str, *, token: str | None = None) -> None:
        """Stop a program and forget it; its log stays. No error when there is none.

        With a token, only when nothing has started the program again since that start: an
        interrupted `up` may still be cleaning up while the next one runs.
        """
        with self._locked():
            if token is not None and not self._is_of(name, token):
                return
            self._program_file(name).unlink(missing_ok=True)
            if self.alive():
                self._remove(name)
                self._rpc().reloadConfig()

    def info(self, name: str) -> dict[str, Any] | None:
        """`statename`, `pid`, `start` (seconds since 1970) and more; None when unknown."""
        try:
            return cast("dict[str, Any]", self._rpc().getProcessInfo(name))
        except (OSError, xmlrpc.client.Fault):
            return None

    def programs(self) -> list[dict[str, Any]]:
        """`info` of every program; empty when the daemon is not running."""
        try:
            return cast("list[dict[str, Any]]", self._rpc().getAllProcessInfo())
        except (OSError, xmlrpc.client.Fault):
            return []

    def log(self, name: str) -> Path:
        """File with a program's standard output and error."""
        return self._home / "logs" / f"{name}.log"

    def shutdown(self) -> None:
        """Stop every program and the daemon. No error when it is not running.

        Raises:
            SupervisorError: It is still there after two minutes.
        """
        if not self.alive():
            return
        pid = int((self._directory / "supervisord.pid").read_text())
        self._rpc().shutdown()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while _exists(pid):
            if time.monotonic() > deadline:
                raise SupervisorError(
                    f"supervisord ({pid}) is still stopping its programs after "
                    f"{_STOP_TIMEOUT_S:.0f} s: see {self._directory / 'supervisord.log'}"
                )
            time.sleep(0.1)

    def _start(self) -> None:
        for directory in (self._directory / "programs", self._home / "logs"):
            directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "supervisord.conf"
        configuration.write_text(_CONFIGURATION.format(home=self._home, socket=self._socket))
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        # The engine's variables hold secrets (its passphrase) that no workload needs.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.alive():
                return
            time.sleep(0.1)
        log = self._directory / "supervisord.log"
        raise SupervisorError(f"supervisord does not start: {done.stderr.strip() or f'see {log}'}")

    def _remove(self, name: str) -> None:
        with _ignored(_NOT_RUNNING, _BAD_NAME):
            self._rpc().stopProcess(name)
        with _ignored(_BAD_NAME):
            self._rpc().removeProcessGroup(name)

    def _is_of(self, name: str, token: str) -> bool:
        try:
            return self._program_file(name).read_text().startswith(f"; start {token}\n")
        except FileNotFoundError:
            return False

    def _program_file(self, name: str) -> Path:
        return self._directory / "programs" / f"{name}.conf"

    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://localhost", transport=transport).supervisor

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def _ignored(*codes: int) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in codes:
            raise


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
