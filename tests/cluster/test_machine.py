"""That nothing of a machine is left when its block ends."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster.machine import machine
from tests.cluster.programs import require_node


@pytest.fixture(autouse=True)
def _possible() -> None:
    require_node()


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _groups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob("**/testnode*"))


def _filters() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


def test_processes_mounts_links_and_groups_end_with_it(tmp_path: Path) -> None:
    links, groups, filters = _links(), _groups(), _filters()
    with machine(tmp_path, tmp_path) as inner:
        inner.run("ip", "link", "add", "pods0", "type", "bridge")
        inner.run("iptables", "-A", "INPUT", "-j", "DROP")
        inner.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
        inner.run(
            "sh", "-c", "echo inside > /var/cache/of-the-machine; sleep 600 >/dev/null 2>&1 &"
        )
        (new,) = _links() - links
        group = next(path for path in _groups() if path.name == new)
        (group / "deep" / "below").mkdir(parents=True)
        sleeper = int(inner.run("sh", "-c", "pgrep -x sleep -n").strip())
        inside = inner.run("readlink", f"/proc/{sleeper}/ns/pid").strip()
    assert _links() == links
    assert _groups() == groups
    assert _filters() == filters
    assert "of-the-machine" not in {path.name for path in Path("/var/cache").iterdir()}
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert inside not in _process_namespaces()


def _process_namespaces() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            found.add(str(path.readlink()))
        except OSError:
            continue
    return found


def test_two_machines_have_networks_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with (
        machine(tmp_path / "a", tmp_path / "a") as one,
        machine(tmp_path / "b", tmp_path / "b") as other,
    ):
        assert one.address != other.address
        assert one.control_group != other.control_group
        assert one.address in one.run("ip", "-brief", "address")
        assert one.address not in other.run("ip", "-brief", "address")
