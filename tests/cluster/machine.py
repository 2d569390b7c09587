"""A machine inside this one: its own network, mounts and processes, and nothing left at its end.

A node changes routes, packet filters, mounts and control groups. In namespaces of its own all of it
ends with the first process, whatever way the tests end; control groups are removed then.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.daemons import Daemon, daemon
from tools.setup.node_packages import search_path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_FIRST, _LAST = 200, 250
_READY = "ready"
_READY_S = 20
_REMOVE_S = 10

# Runs as the first process. What programs write below /var and /run goes to the machine's folder.
_BOOT = """
set -eu
mount -t tmpfs tmpfs /run
mount -t overlay -o "lowerdir=/var,upperdir=$1/var,workdir=$1/work" overlay /var
touch "$1/$2"
sleep infinity &
wait
"""
_NETWORK = """
set -eu
ip link set lo up
ip addr add "$1/30" dev eth0
ip link set eth0 up
ip route add default via "$2"
echo 1 > /proc/sys/net/ipv4/ip_forward
# Packets from a pod to a Service's other pods on the same bridge pass the filters too.
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
"""


@dataclass(frozen=True)
class Machine:
    """The inner machine; the outer one reaches its pods and Services by routes."""

    number: int
    folder: Path
    enter: tuple[str, ...]
    """Prefix of a command that runs inside."""

    @property
    def outer_address(self) -> str:
        """Address of the outer machine on the link between them."""
        return f"10.{self.number}.0.1"

    @property
    def address(self) -> str:
        """Address of the inner machine."""
        return f"10.{self.number}.0.2"

    @property
    def pods(self) -> str:
        """Network of the pods."""
        return f"10.{self.number}.1.0/24"

    @property
    def services(self) -> str:
        """Network of the Services."""
        return f"10.{self.number}.2.0/24"

    @property
    def control_group(self) -> str:
        """Its control group, below the root of each hierarchy."""
        return f"/{_link(self.number)}"

    def run(self, *argv: str) -> str:
        """Run a command inside to its end; return what it printed.

        Raises:
            RuntimeError: It failed; with what it printed.
        """
        return _run(*self.enter, *argv)


@contextlib.contextmanager
def machine(folder: Path, logs: Path) -> Iterator[Machine]:
    """Run a machine until the block ends.

    Raises:
        RuntimeError: This machine does not let it start; with the reason.
    """
    for name in ("var", "work"):
        (folder / name).mkdir()
    with _first_process(folder, logs) as first, _linked(first) as number:
        enter = ("nsenter", "--target", str(_child(first)), "--net", "--mount", "--pid", "--")
        made = Machine(number, folder, (*enter, "env", f"PATH={search_path()}"))
        made.run("sh", "-c", _NETWORK, "sh", made.address, made.outer_address)
        for network in (made.pods, made.services):
            _run("ip", "route", "add", network, "via", made.address)
        yield made


@contextlib.contextmanager
def _first_process(folder: Path, logs: Path) -> Iterator[Daemon]:
    namespaces = ("--net", "--mount", "--propagation=private", "--pid", "--mount-proc", "--fork")
    # `daemon` binds it to the tests, and `--kill-child` its child to it, and so all others.
    command = ["unshare", *namespaces, "--kill-child", "sh", "-c", _BOOT, "sh", str(folder), _READY]
    with daemon("machine", command, logs) as first:
        first.wait((folder / _READY).exists, _READY_S)
        yield first


def _child(first: Daemon) -> int:
    pid = first.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextlib.contextmanager
def _linked(first: Daemon) -> Iterator[int]:
    """Take a free number, and with it networks and a control group; link the machines."""
    child = _child(first)
    number = _link_machines(child)
    group = _link(number)
    try:
        for hierarchy in _hierarchies():
            # Killed tests leave theirs behind; the link says that nobody uses it now.
            _remove(hierarchy / group)
            (hierarchy / group).mkdir()
        yield number
    finally:
        _run("ip", "link", "delete", group)
        # With the first process all others end, and only then does its parent.
        os.kill(child, signal.SIGKILL)
        first.process.wait()
        for hierarchy in _hierarchies():
            _remove(hierarchy / group)


def _link_machines(child: int) -> int:
    for number in range(_FIRST, _LAST):
        outer = _link(number)
        ends = ("type", "veth", "peer", "name", "eth0", "netns", str(child))
        with contextlib.suppress(RuntimeError):
            # Fails when another test run has the number: the name of a link is unique.
            _run("ip", "link", "add", outer, *ends)
            _run("ip", "addr", "add", f"10.{number}.0.1/30", "dev", outer)
            _run("ip", "link", "set", outer, "up")
            return number
    raise RuntimeError(f"no link between machines could be made; see `ip link add {outer} …`")


def _link(number: int) -> str:
    return f"testnode{number}"


def _hierarchies() -> list[Path]:
    """Roots of control groups: one in version 2, one for each controller in version 1."""
    if (_CONTROL_GROUPS / "cgroup.controllers").exists():
        return [_CONTROL_GROUPS]
    return [path for path in _CONTROL_GROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove(group: Path) -> None:
    """Remove a control group with those below it, once its last process has ended."""
    until = time.monotonic() + _REMOVE_S
    below = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    for path in (*below, group):
        while path.exists():
            try:
                path.rmdir()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout
