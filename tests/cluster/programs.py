"""The programs that these tests run, and what happens where they are missing."""

import os
import subprocess
import sys

import pytest

from stacks.paths import ROOT
from tools.setup import node_packages
from tools.setup.cluster import DEFINITIONS, PROGRAMS

FOLDER = ROOT / PROGRAMS
CUSTOM_RESOURCE_DEFINITIONS = ROOT / DEFINITIONS
"""One file for each operator."""

API_SERVER = ("etcd", "kube-apiserver")
NODE = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")
PROVIDER = "pulumi-resource-kubernetes"


def program(name: str) -> str:
    """Path of a program that set-up compiled."""
    return str(FOLDER / name)


def require(*names: str) -> None:
    """Skip the test unless set-up has compiled these programs; fail it in CI."""
    missing = [name for name in names if not (FOLDER / name).exists()]
    if missing:
        _lacking(f"{', '.join(missing)}: not set up, run `make test-cluster`")


def require_node() -> None:
    """Skip the test unless this machine can run a node; fail it in CI for want of a program."""
    if not sys.platform.startswith("linux"):
        pytest.skip("a node needs Linux")
    if os.geteuid() != 0:
        pytest.skip("a node needs root: it makes namespaces, mounts and cgroups")
    refused = _refused_by_the_kernel()
    if refused:
        pytest.skip(f"this machine, or the container that it is, lets no node be made: {refused}")
    require(*API_SERVER, *NODE)
    if node_packages.missing():
        _lacking(node_packages.advice())


def _refused_by_the_kernel() -> str:
    """What a node needs and even root may not have, as in an unprivileged container; or nothing."""
    probe = (
        "mount -t tmpfs tmpfs /mnt && ip link add name probe type bridge"
        " && test -w /proc/sys/net/bridge/bridge-nf-call-iptables"
    )
    namespaces = ("unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", probe)
    environment = {**os.environ, "PATH": node_packages.search_path()}
    done = subprocess.run(namespaces, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return ""
    return done.stderr.strip() or "no network filter for bridges"


def _lacking(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
