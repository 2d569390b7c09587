"""The local substrate on the real engine and the real supervisor, with small HTTP servers."""

import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import automation as auto

from benchmarks.processes import free_port
from stacks.engine import open_stack
from stacks.paths import ROOT, StateDirectory
from substrates.local.substrate import LocalSubstrate
from substrates.local.supervisor import Supervisor
from substrates.workload import Health, Service

pytestmark = pytest.mark.engine


class Environment:
    """Two HTTP servers, `one` and `two`."""

    def __init__(self, directory: Path) -> None:
        self.state = StateDirectory(directory)
        self.home = self.state.home("test")
        self.ports = {"one": free_port(), "two": free_port()}
        self.flags = {"one": "a", "two": "a"}
        self.supervisor = Supervisor(self.home)
        self.stack = open_stack("test", program=self.program, config={}, state=self.state)

    def program(self) -> None:
        substrate = LocalSubstrate(root=ROOT, home=self.home)
        for name, port in self.ports.items():
            service = Service(
                name=name,
                command=(
                    substrate.python("infra"),
                    "-m",
                    "http.server",
                    str(port),
                    "--bind",
                    "127.0.0.1",
                    "--directory",
                    substrate.file(name, "."),
                ),
                environment={"FLAG": self.flags[name]},
                files={"content.txt": f"I am {name}"},
                ports={"http": port},
                health=Health(port="http", path="/content.txt", timeout_s=60),
            )
            substrate.service(service, pulumi.ResourceOptions())

    def up(self) -> dict[str, Any]:
        return dict(self.stack.up(refresh=True).summary.resource_changes or {})

    def pid(self, name: str) -> int:
        info = self.supervisor.info(name)
        assert info is not None
        return int(info["pid"])

    def content(self, name: str) -> str:
        url = f"http://127.0.0.1:{self.ports[name]}/content.txt"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    made = Environment(tmp_path)
    yield made
    made.supervisor.shutdown()


def test_services_run_restart_drift_and_go(environment: Environment) -> None:
    environment.up()
    assert [environment.content(name) for name in ("one", "two")] == ["I am one", "I am two"]
    assert set(environment.up()) == {"same"}

    # One flag is one update, and only that process is a new one.
    before = {name: environment.pid(name) for name in ("one", "two")}
    environment.flags["one"] = "b"
    assert environment.up()["update"] == 1
    after = {name: environment.pid(name) for name in ("one", "two")}
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]

    # A killed process is started again, and a refresh sees that it is another one.
    os.kill(after["two"], signal.SIGKILL)
    _until(lambda: environment.pid("two") not in (0, after["two"]))
    seen: list[auto.EngineEvent] = []
    environment.stack.preview(refresh=True, on_event=seen.append)
    assert _refreshed_pids(seen) == {after["two"]: environment.pid("two")}

    # A stopped one is drift that the next `up` repairs.
    environment.supervisor.remove("one")
    assert environment.up()["update"] == 1
    assert environment.content("one") == "I am one"

    # Down leaves neither process nor port.
    pids = [environment.pid(name) for name in ("one", "two")]
    environment.stack.destroy()
    environment.supervisor.shutdown()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    for port in environment.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_named_and_nothing_is_left(environment: Environment) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", environment.ports["one"]))
        holder.listen()
        with pytest.raises(auto.CommandError, match=rf"port {environment.ports['one']} \(http\)"):
            environment.up()
        assert environment.supervisor.info("one") is None
    environment.up()
    assert environment.content("one") == "I am one"


def test_killing_the_supervisor_ends_its_processes(environment: Environment) -> None:
    environment.up()
    pid = environment.pid("one")
    daemon = int((environment.home / "supervisor" / "supervisord.pid").read_text())
    os.kill(daemon, signal.SIGKILL)
    _until(lambda: not Path(f"/proc/{pid}").exists())
    assert environment.up()["update"] == 2
    assert environment.content("one") == "I am one"


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _refreshed_pids(events: list[auto.EngineEvent]) -> dict[int, int]:
    found: dict[int, int] = {}
    for event in events:
        if event.res_outputs_event is None:
            continue
        metadata = event.res_outputs_event.metadata
        if metadata.op != "refresh" or metadata.old is None or metadata.new is None:
            continue
        old, new = metadata.old.outputs.get("pid"), metadata.new.outputs.get("pid")
        if old != new:
            found[int(old)] = int(new)
    return found
