"""What the Kubernetes API says about a model pod at one look. No I/O."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from registry.names import PoolName
from serving.billing.usage import PriceClass

UNKNOWN_GPU: Final = "unknown"
_GPU_LABELS: Final = ("nvidia.com/gpu.product", "node.kubernetes.io/instance-type")
_CAPACITY_LABELS: Final = ("karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType")


@dataclass(frozen=True)
class NodeFacts:
    """What a pod's GPUs are, and how they were bought."""

    gpu_type: str
    price_class: PriceClass


UNKNOWN_NODE: Final = NodeFacts(UNKNOWN_GPU, "on-demand")
"""A node that is gone, or has no labels yet."""


@dataclass(frozen=True)
class SeenPod:
    """A pod on a node. Another pod of the same name has another uid."""

    uid: str
    pod: str
    pool: PoolName
    gpus: int
    node: NodeFacts
    scheduled: dt.datetime
    """When it got its node: its GPUs are nobody else's from then on."""
    finished: dt.datetime | None
    """When its last container ended; None while it holds its GPUs."""


def node_facts(labels: Mapping[str, str]) -> NodeFacts:
    """Read a node's labels: those of NVIDIA's feature discovery, Karpenter and EKS.

    Reservations and Capacity Blocks are paid for in advance and not interrupted: on-demand.
    """
    gpu_type = next((labels[name] for name in _GPU_LABELS if labels.get(name)), UNKNOWN_GPU)
    bought = next((labels[name] for name in _CAPACITY_LABELS if labels.get(name)), "")
    return NodeFacts(gpu_type, "spot" if bought.lower() == "spot" else "on-demand")
