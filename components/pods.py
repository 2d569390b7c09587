"""Pods of the pipeline on Kubernetes: restricted, with the tokens and the egress they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi_kubernetes import core, meta, networking

from components.checks import image_by_digest, private_network

CONFIG_DIRECTORY = "/etc/pipeline"
"""Where a pod finds its configuration files."""
SCRATCH = "/tmp"  # noqa: S108  a volume of the pod's own
NAME_LABEL = "app.kubernetes.io/name"
METRICS_PORT = "metrics"
"""Name of the port that Prometheus scrapes."""
_USER = 65532


@dataclass(frozen=True, kw_only=True)
class NetworkPeer:
    """A network that a pod may reach."""

    cidr: str
    port: int

    def __post_init__(self) -> None:
        private_network(self.cidr, "NetworkPeer.cidr")


@dataclass(frozen=True, kw_only=True)
class PodPeer:
    """Pods that a pod may reach, or be reached by."""

    namespace: str
    labels: Mapping[str, str]
    """Empty means every pod of the namespace."""
    port: int


Peer = NetworkPeer | PodPeer

POD_IDENTITY = NetworkPeer(cidr="169.254.170.23/32", port=80)
"""The agent on each EKS node that gives pods the credentials of their role."""


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """One value of a Secret that exists in the pod's namespace."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a pod is given. Memory is request and limit at once, so that it is really there."""

    cpu: str
    memory: str
    scratch: str
    """Size of its scratch volume."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """The one container of a pod."""

    name: str
    image: str
    """By digest: `repository@sha256:…`."""
    command: tuple[str, ...]
    resources: Resources
    config_map: pulumi.Input[str]
    """Its files appear under `CONFIG_DIRECTORY`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """Environment variables whose values come from Secrets."""
    metrics_port: int | None = None
    """Answers GET /metrics and GET /healthz; None for a job."""

    def __post_init__(self) -> None:
        image_by_digest(self.image, self.name)


def labels_of(name: str) -> dict[str, str]:
    """Labels of everything that belongs to one workload."""
    return {
        NAME_LABEL: name,
        "app.kubernetes.io/part-of": "custom-model-pipeline",
        "app.kubernetes.io/managed-by": "pulumi",
    }


def metadata(name: str, namespace: str) -> meta.v1.ObjectMetaArgs:
    """Metadata of an object of one workload."""
    return meta.v1.ObjectMetaArgs(name=name, namespace=namespace, labels=labels_of(name))


def pod_spec(
    container: Container,
    *,
    service_account: pulumi.Input[str],
    restart: Literal["Never", "Always"],
    asks_kubernetes: bool = False,
) -> core.v1.PodSpecArgs:
    """A pod that passes the `restricted` pod security standard.

    Args:
        container: What runs in it.
        service_account: Name of its ServiceAccount.
        restart: What follows when it ends.
        asks_kubernetes: Whether it is given a token for the API of the cluster.
    """
    return core.v1.PodSpecArgs(
        service_account_name=service_account,
        # Roles come through EKS Pod Identity, which mounts a token of its own.
        automount_service_account_token=asks_kubernetes,
        enable_service_links=False,
        restart_policy=restart,
        security_context=pod_security(),
        containers=[_container(container)],
        volumes=[
            core.v1.VolumeArgs(
                name="config",
                config_map=core.v1.ConfigMapVolumeSourceArgs(name=container.config_map),
            ),
            core.v1.VolumeArgs(
                name="scratch",
                empty_dir=core.v1.EmptyDirVolumeSourceArgs(size_limit=container.resources.scratch),
            ),
        ],
    )


def pod_security() -> core.v1.PodSecurityContextArgs:
    """What the `restricted` pod security standard asks of a pod."""
    return core.v1.PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=_USER,
        run_as_group=_USER,
        fs_group=_USER,
        seccomp_profile=core.v1.SeccompProfileArgs(type="RuntimeDefault"),
    )


def container_security() -> core.v1.SecurityContextArgs:
    """What the `restricted` pod security standard asks of a container, and no writable image."""
    return core.v1.SecurityContextArgs(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=core.v1.CapabilitiesArgs(drop=["ALL"]),
    )


def _container(container: Container) -> core.v1.ContainerArgs:
    return core.v1.ContainerArgs(
        name=container.name,
        image=container.image,
        command=list(container.command),
        env=[
            *(core.v1.EnvVarArgs(name=k, value=v) for k, v in container.environment.items()),
            *(secret_variable(name, key) for name, key in container.secrets.items()),
        ],
        ports=_ports(container.metrics_port),
        readiness_probe=_probe(container.metrics_port),
        resources=_resources(container.resources),
        security_context=container_security(),
        volume_mounts=[
            core.v1.VolumeMountArgs(name="config", mount_path=CONFIG_DIRECTORY, read_only=True),
            core.v1.VolumeMountArgs(name="scratch", mount_path=SCRATCH),
        ],
    )


def secret_variable(name: str, key: SecretKey) -> core.v1.EnvVarArgs:
    """An environment variable whose value comes from a Secret."""
    selector = core.v1.SecretKeySelectorArgs(name=key.secret, key=key.key)
    return core.v1.EnvVarArgs(
        name=name, value_from=core.v1.EnvVarSourceArgs(secret_key_ref=selector)
    )


def _ports(metrics: int | None) -> list[core.v1.ContainerPortArgs]:
    if metrics is None:
        return []
    return [core.v1.ContainerPortArgs(name=METRICS_PORT, container_port=metrics)]


def _probe(metrics: int | None) -> core.v1.ProbeArgs | None:
    if metrics is None:
        return None
    return core.v1.ProbeArgs(http_get=core.v1.HTTPGetActionArgs(path="/healthz", port=METRICS_PORT))


def _resources(resources: Resources) -> core.v1.ResourceRequirementsArgs:
    held = {"memory": resources.memory, "ephemeral-storage": resources.scratch}
    return core.v1.ResourceRequirementsArgs(requests={"cpu": resources.cpu, **held}, limits=held)


def network_policy(
    name: str, *, egress: Sequence[Peer], ingress: Sequence[PodPeer] = ()
) -> networking.v1.NetworkPolicySpecArgs:
    """Only the peers that are named, and the cluster's DNS. What is not named is refused."""
    return networking.v1.NetworkPolicySpecArgs(
        pod_selector=meta.v1.LabelSelectorArgs(match_labels={NAME_LABEL: name}),
        policy_types=["Ingress", "Egress"],
        ingress=[
            networking.v1.NetworkPolicyIngressRuleArgs(
                from_=[_peer(peer)], ports=[_port("TCP", peer.port)]
            )
            for peer in ingress
        ],
        egress=[
            _dns(),
            *(
                networking.v1.NetworkPolicyEgressRuleArgs(
                    to=[_peer(peer)], ports=[_port("TCP", peer.port)]
                )
                for peer in egress
            ),
        ],
    )


def _dns() -> networking.v1.NetworkPolicyEgressRuleArgs:
    peer = PodPeer(namespace="kube-system", labels={"k8s-app": "kube-dns"}, port=53)
    return networking.v1.NetworkPolicyEgressRuleArgs(
        to=[_peer(peer)], ports=[_port("UDP", peer.port), _port("TCP", peer.port)]
    )


def _peer(peer: Peer) -> networking.v1.NetworkPolicyPeerArgs:
    if isinstance(peer, NetworkPeer):
        return networking.v1.NetworkPolicyPeerArgs(
            ip_block=networking.v1.IPBlockArgs(cidr=peer.cidr)
        )
    return networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=meta.v1.LabelSelectorArgs(
            match_labels={"kubernetes.io/metadata.name": peer.namespace}
        ),
        pod_selector=meta.v1.LabelSelectorArgs(match_labels=dict(peer.labels)),
    )


def _port(protocol: str, port: int) -> networking.v1.NetworkPolicyPortArgs:
    return networking.v1.NetworkPolicyPortArgs(protocol=protocol, port=port)
