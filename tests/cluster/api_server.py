"""A real API server on this machine: etcd, kube-apiserver, users with tokens, RBAC.

Unlike a cluster's, it is alone: without the node no controller runs, so nothing has a status.
"""

import contextlib
import functools
import ipaddress
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import free_port
from tests.cluster import certificates
from tests.cluster.certificates import Certificates
from tests.cluster.client import Client, Object
from tests.cluster.daemons import Daemon, daemon
from tests.cluster.programs import CUSTOM_RESOURCE_DEFINITIONS, program

_SERVICES = "10.247.0.0/24"
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_READY_S = 60

USERS: Mapping[str, tuple[str, str]] = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": ("system:node:node", "system:nodes"),
    "reader": ("reader", "readers"),
}
"""User and group of each who has a token."""


class _Loader(yaml.CSafeLoader):
    """Reads a lone `=` as text, as YAML 1.2 does; enumerations of Prometheus have it."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


@dataclass(frozen=True)
class ApiServer:
    """A running API server."""

    url: str
    folder: Path
    """Its files and those of who talks to it; logs in `logs`."""
    tokens: Mapping[str, str]
    """Token of each of `USERS`."""
    certificates: Certificates
    services: str
    """Network of the Services."""

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.folder / "logs"

    @property
    def client(self) -> Client:
        """A client of the administrator's."""
        return Client(self.url, self.tokens["admin"], self.certificates.authority)

    def kubeconfig(self, user: str = "admin") -> Path:
        """File with which one of the users reaches it."""
        path = self.folder / f"{user}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self._kubeconfig(user)))
        return path

    def _kubeconfig(self, user: str) -> dict[str, Any]:
        cluster = {
            "server": self.url,
            "certificate-authority": str(self.certificates.authority),
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }


@contextlib.contextmanager
def api_server(
    folder: Path, *, address: str = "127.0.0.1", services: str = _SERVICES
) -> Iterator[ApiServer]:
    """Run an API server until the block ends.

    Args:
        folder: Where its files lie; what is there at the end tells why it failed.
        address: An address of this machine at which it is reached.
        services: Network of the Services, in CIDR form.

    Raises:
        RuntimeError: A program ended or was not ready in time; with its last lines.
    """
    # The first address of the network is the API's own.
    inside = str(ipaddress.ip_network(services)[1])
    made = ApiServer(
        url=f"https://{address}:{free_port()}",
        folder=folder,
        tokens={name: secrets.token_urlsafe(32) for name in USERS},
        certificates=certificates.create(folder, [address, inside], _NAMES),
        services=services,
    )
    made.logs.mkdir(exist_ok=True)
    with (
        _etcd(folder, made.logs) as etcd,
        daemon("kube-apiserver", _command(made, etcd), made.logs) as server,
    ):
        client = made.client
        server.wait(client.ready, _READY_S)
        yield made


@contextlib.contextmanager
def controllers(server: ApiServer, prefix: Sequence[str] = ()) -> Iterator[Daemon]:
    """Run Kubernetes' controllers until the block ends: without them no deletion completes.

    Args:
        server: Where they work.
        prefix: A command that runs their command, such as `nsenter`.
    """
    files = server.certificates
    command = [
        program("kube-controller-manager"),
        f"--kubeconfig={server.kubeconfig('controller-manager')}",
        f"--service-account-private-key-file={files.service_account_key}",
        f"--root-ca-file={files.authority}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={server.folder / 'controllers'}",
    ]
    with daemon("kube-controller-manager", command, server.logs, prefix=prefix) as running:
        yield running


@contextlib.contextmanager
def _etcd(folder: Path, logs: Path) -> Iterator[str]:
    clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command = [
        program("etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        # A test's data need not outlive a loss of power.
        "--unsafe-no-fsync",
    ]
    with daemon("etcd", command, logs):
        yield clients


def _command(server: ApiServer, etcd: str) -> list[str]:
    address, port = server.url.removeprefix("https://").split(":")
    files = server.certificates
    return [
        program("kube-apiserver"),
        f"--etcd-servers={etcd}",
        f"--bind-address={address}",
        *_advertised(address),
        f"--secure-port={port}",
        f"--tls-cert-file={files.certificate}",
        f"--tls-private-key-file={files.key}",
        f"--token-auth-file={_token_file(server)}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={server.services}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.service_account_key}",
        f"--service-account-signing-key-file={files.service_account_key}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _advertised(address: str) -> list[str]:
    if ipaddress.ip_address(address).is_loopback:
        # No pod could reach it, so the Service `kubernetes` has no endpoint.
        return ["--endpoint-reconciler-type=none"]
    return [f"--advertise-address={address}"]


def _token_file(server: ApiServer) -> Path:
    path = server.folder / "tokens.csv"
    path.touch(mode=0o600)
    rows = [
        f'{server.tokens[name]},{user},{name},"{group}"' for name, (user, group) in USERS.items()
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def definitions(*operators: str) -> list[Object]:
    """CustomResourceDefinitions of operators; of all that set-up fetched when none is named."""
    names = operators or sorted(path.stem for path in CUSTOM_RESOURCE_DEFINITIONS.glob("*.yaml"))
    return [definition for name in names for definition in _definitions_of(name)]


@functools.cache
def _definitions_of(operator: str) -> tuple[Object, ...]:
    text = (CUSTOM_RESOURCE_DEFINITIONS / f"{operator}.yaml").read_text()
    documents = filter(None, yaml.load_all(text, _Loader))
    return tuple(each for each in documents if each["kind"] == "CustomResourceDefinition")
