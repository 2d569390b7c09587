"""A real Kubernetes node on this machine: controllers, scheduler, kubelet, proxy, DNS.

What differs from a node of production:
- containers see folders of the machine (`runtime.shared_folders`) in place of the content of their
  images, so `/usr`, the interpreter, the environments and the project's packages are not theirs;
- no NetworkPolicy is enforced: the bridge plugin has no such part;
- DNS is a process of the node, not pods with the label `k8s-app=kube-dns`;
- volumes are folders that are made beforehand (`storage`), without a limit of their size;
- there is no registry, no load balancer, no metrics server and no GPU;
- the API server and the controllers run outside the node, and the node trusts who talks to it.
Pod specifications are not changed: security contexts, users, limits and images by digest hold.
"""

import contextlib
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import yaml

from benchmarks.processes import free_port
from tests.cluster.api_server import ApiServer, api_server, controllers
from tests.cluster.client import Client, has_condition
from tests.cluster.daemons import Daemon, daemon
from tests.cluster.machine import Machine, machine
from tests.cluster.programs import program
from tests.cluster.runtime import Runtime, runtime

NAME = "node"
DOMAIN = "cluster.local"
_NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}}
_READY_S = 60


@dataclass(frozen=True)
class Node:
    """A cluster of one node."""

    server: ApiServer
    machine: Machine
    runtime: Runtime

    @property
    def client(self) -> Client:
        """A client of the administrator's."""
        return self.server.client


@contextlib.contextmanager
def node(folder: Path) -> Iterator[Node]:
    """Run a cluster of one node until the block ends.

    Raises:
        RuntimeError: A program ended or was not ready in time; with its last lines.
    """
    logs = folder / "logs"
    logs.mkdir()
    with contextlib.ExitStack() as stack:
        inner = stack.enter_context(machine(folder, logs))
        server = stack.enter_context(
            api_server(folder, address=inner.outer_address, services=inner.services)
        )
        containers = stack.enter_context(runtime(inner, logs))
        stack.enter_context(controllers(server))
        stack.enter_context(daemon("kube-scheduler", _scheduler(server), logs))
        kubelet = _start(stack, "kubelet", _kubelet(server, containers), inner, logs)
        _start(stack, "kube-proxy", _proxy(server, inner), inner, logs)
        names = _start(stack, "coredns", _coredns(server), inner, logs)
        _await_node(server.client, kubelet)
        names.wait(lambda: _names_services(inner), _READY_S)
        yield Node(server, inner, containers)


def _start(
    stack: contextlib.ExitStack, name: str, command: Sequence[str], inner: Machine, logs: Path
) -> Daemon:
    return stack.enter_context(daemon(name, command, logs, prefix=inner.enter))


def _await_node(client: Client, kubelet: Daemon) -> None:
    try:
        client.wait(_NODE, lambda found: has_condition(found, "Ready"), _READY_S)
    except TimeoutError as error:
        raise RuntimeError(f"{error}\n{kubelet.tail()}") from error


def _scheduler(server: ApiServer) -> list[str]:
    return [
        program("kube-scheduler"),
        f"--kubeconfig={server.kubeconfig('scheduler')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={server.folder / 'scheduler'}",
    ]


def _kubelet(server: ApiServer, containers: Runtime) -> list[str]:
    inner = containers.machine
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{containers.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": inner.control_group,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [inner.address],
        "clusterDomain": DOMAIN,
        # Names of the outer machine's network are none of the pods' business.
        "resolvConf": "",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        # How full the disk is depends on the machine, and images can be had only once.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
    }
    path = server.folder / "kubelet.yaml"
    path.write_text(yaml.safe_dump(config))
    return [
        program("kubelet"),
        f"--config={path}",
        f"--kubeconfig={server.kubeconfig('kubelet')}",
        f"--root-dir={server.folder / 'kubelet'}",
        f"--hostname-override={NAME}",
        f"--node-ip={inner.address}",
    ]


def _proxy(server: ApiServer, inner: Machine) -> list[str]:
    return [
        program("kube-proxy"),
        f"--kubeconfig={server.kubeconfig('proxy')}",
        f"--hostname-override={NAME}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={inner.pods}",
        # These limits belong to the whole machine's kernel.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]


def _names_services(inner: Machine) -> bool:
    with urllib.request.urlopen(f"http://{inner.address}:8181/ready", timeout=2) as answer:
        return bool(answer.status == HTTPStatus.OK)


def _coredns(server: ApiServer) -> list[str]:
    path = server.folder / "Corefile"
    path.write_text(
        f""".:53 {{
    errors
    ready
    cache 1
    kubernetes {DOMAIN} {{
        kubeconfig {server.kubeconfig()}
    }}
}}
"""
    )
    return [program("coredns"), "-conf", str(path)]
