"""What every part of an environment on Kubernetes is declared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.object_store import ObjectStoreAccess
from components.pods import NetworkPeer
from stacks.config.images import Images
from stacks.operators import Operator

SERVING: Final = "agentic-serving"
"""Namespace of the request path: gateway, router, Bifrost, model pools (the guide's name)."""
OPERATIONS: Final = "pipeline-operations"
"""Namespace of MLflow, billing, metrics, reports."""
TRAINING: Final = "pipeline-training"
"""Namespace of the jobs of releases."""
LANGFUSE: Final = "langfuse"

_API_PORTS: Final = (443, 6443)
"""Of the API's Service, and of what most clusters have behind it: policies may see either."""

Workload = Literal[
    "router",
    "adapter-sync",
    "vllm",
    "mlflow",
    "langfuse",
    "billing",
    "reconciliation",
    "exporter",
    "pod-reports",
    "sampler",
]
"""Whose pods have a role of their own; jobs of releases have theirs in the domain stacks."""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """The account that an environment lives in."""

    provider: aws.Provider
    account: str
    region: str
    vpc_id: pulumi.Output[str]
    vpc_cidr: str
    """Pods, nodes, databases and interface endpoints are all inside."""
    private_subnets: Mapping[str, pulumi.Output[str]]
    """Id of the private subnet by zone."""
    cluster_name: pulumi.Output[str]
    cluster_security_group: pulumi.Output[str]
    """Of the nodes: what databases let in."""
    ready: tuple[pulumi.Resource, ...]
    """The control plane and its system nodes: nothing runs on the cluster before them."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that an environment is declared on."""

    environment: str
    kubernetes: kubernetes.Provider
    aws: Aws | None
    """None on a cluster that exists already."""
    images: Images
    operators: frozenset[Operator]
    """What there will be, installed here or present before: only its kinds may be declared."""
    api_server: str
    """Network of the Kubernetes API, in CIDR form, for NetworkPolicies."""
    object_store: ObjectStoreAccess
    tags: Mapping[str, str]
    """On every resource in the account."""

    @property
    def api_peers(self) -> list[NetworkPeer]:
        """Where pods that ask the Kubernetes API reach it."""
        return [NetworkPeer(cidr=self.api_server, port=port) for port in _API_PORTS]
