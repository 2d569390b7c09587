"""The container runtime of the node: containerd, its images, and what it shows to containers."""

import contextlib
import json
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks.paths import ROOT
from tests.cluster.daemons import daemon
from tests.cluster.images import Image, pause
from tests.cluster.machine import Machine
from tools.setup.node_packages import CNI_FOLDER

_CRI_NAMESPACE = "k8s.io"
_CRI = 'plugins."io.containerd.grpc.v1.cri"'
_READY_S = 30


@dataclass(frozen=True)
class Runtime:
    """containerd on the node."""

    machine: Machine
    socket: Path
    folder: Path

    def run(self, *argv: str) -> str:
        """Run a command of `ctr`."""
        address = ("--address", str(self.socket), "--namespace", _CRI_NAMESPACE)
        return self.machine.run("ctr", *address, *argv)

    def add(self, image: Image) -> str:
        """Give the node an image; return its reference by digest, which pods then find."""
        archive = self.folder / f"{uuid.uuid4()}.tar"
        archive.write_bytes(image.archive)
        self.run("images", "import", "--no-unpack", str(archive))
        # Nothing pulls: the name by digest must be the image's own.
        self.run("images", "tag", "--force", image.tag, image.reference)
        archive.unlink()
        return image.reference


def shared_folders() -> list[Path]:
    """Folders of this machine that every container of the node sees, read-only, where they are.

    Programs and libraries of the system, the Python interpreter, the project's environments and
    packages. Not the project folder itself: local state lies in it.
    """
    environments = sorted(ROOT.glob(".venv*"))
    packages = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
    folders = [Path("/usr"), Path(sys.base_prefix), *packages]
    for path in environments:
        folders += [path, path.resolve()] if path.is_symlink() else [path]
    return list(dict.fromkeys(each for each in folders if each.is_dir()))


@contextlib.contextmanager
def runtime(machine: Machine, logs: Path) -> Iterator[Runtime]:
    """Run containerd until the block ends."""
    folder = machine.folder / "containerd"
    folder.mkdir()
    socket = folder / "containerd.sock"
    config = folder / "config.toml"
    image = pause()
    config.write_text(_config(machine, folder, socket, image))
    _write_network(folder / "cni", machine)
    command = ["containerd", "--config", str(config)]
    with daemon("containerd", command, logs, prefix=machine.enter) as running:
        made = Runtime(machine, socket, folder)
        running.wait(lambda: _answers(made), _READY_S)
        made.add(image)
        yield made


def _answers(made: Runtime) -> bool:
    try:
        made.run("version")
    except RuntimeError:
        return False
    return True


def _config(machine: Machine, folder: Path, socket: Path, image: Image) -> str:
    return f"""
version = 2
root = "{folder / "root"}"
state = "{folder / "state"}"
[grpc]
address = "{socket}"
[{_CRI}]
sandbox_image = "{image.tag}"
# Without it a sandbox fails where the runtime may not lower its own score.
restrict_oom_score_adj = true
[{_CRI}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{_write_specification(machine, folder)}"
[{_CRI}.cni]
bin_dir = "{CNI_FOLDER}"
conf_dir = "{folder / "cni"}"
"""


def _write_specification(machine: Machine, folder: Path) -> Path:
    """Write what each container starts from: containerd's default and the shared folders."""
    specification: dict[str, Any] = json.loads(machine.run("ctr", "oci", "spec"))
    specification["mounts"] += [
        {
            "type": "bind",
            "source": str(each.resolve()),
            "destination": str(each),
            "options": ["rbind", "ro"],
        }
        for each in shared_folders()
    ]
    path = folder / "specification.json"
    path.write_text(json.dumps(specification))
    return path


def _write_network(folder: Path, machine: Machine) -> None:
    folder.mkdir()
    addresses: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": machine.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True}
    plugins: Sequence[object] = [
        {**bridge, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}
    (folder / "10-pods.conflist").write_text(json.dumps(network))
