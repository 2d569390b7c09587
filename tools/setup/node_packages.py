"""What a Kubernetes node needs of the operating system: programs and their Debian packages.

`python3 -m tools.setup.node_packages` prints the packages that are missing, one a line.
"""

import os
import shutil
import sys
from pathlib import Path

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
CNI_FOLDER = Path("/usr/lib/cni")
"""Where Debian installs the CNI plugins."""
BUSYBOX = Path("/usr/bin/busybox")
"""Statically linked: the one program of the images that the tests make."""
PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    str(CNI_FOLDER / "bridge"): "containernetworking-plugins",
    str(BUSYBOX): "busybox-static",
}
"""The Debian package of each program."""


def search_path() -> str:
    """PATH with the folders of system programs, which a user's own PATH may leave out."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def missing() -> list[str]:
    """Return the packages that a node needs and this machine lacks, sorted."""
    path = search_path()
    return sorted({p for name, p in PACKAGES.items() if shutil.which(name, path=path) is None})


def advice() -> str:
    """Say what is missing and how to get it; only for machines that miss something."""
    lacking = " ".join(missing())
    if not sys.platform.startswith("linux"):
        return "A node needs Linux: the tests that start one are skipped on this machine."
    return f"A node also needs packages of the system (Debian: `apt install {lacking}`)."


if __name__ == "__main__":
    for package in missing():
        print(package)
