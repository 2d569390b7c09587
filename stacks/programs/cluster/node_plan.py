"""Which node groups a configuration comes to. No pulumi resources."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from components.node_group import Block, OnDemandReservation, Price
from serving.pod_reports.config import POOL_LABEL
from stacks.catalogue.instances import Instance, instance
from stacks.config.aws import EksCluster
from stacks.config.nodes import (
    GPU_TAINT,
    PRODUCT_LABEL,
    CapacityBlock,
    LlmNodes,
    NodePool,
    Reservation,
    SlmNodes,
    SystemNodes,
    TrainingNodes,
)

_GPU_LABEL: Final = "nvidia.com/gpu.present"
"""What NVIDIA's charts look for on a node where no discovery of features runs."""


@dataclass(frozen=True, kw_only=True)
class PlannedGroup:
    """One node group."""

    pool: NodePool
    name: str
    """Without the prefix of the environment."""
    instance_types: tuple[str, ...]
    price: Price
    minimum: int
    maximum: int
    disk_gib: int
    zones: tuple[str, ...]
    capacity: OnDemandReservation | Block | None = None
    has_efa: bool = False
    placed_together: bool = False

    @property
    def smallest(self) -> Instance:
        """The least that a node may be."""
        return instance(self.instance_types[0])

    @property
    def is_resized(self) -> bool:
        """Whether the autoscaler resizes it: a block's size is a decision."""
        return self.minimum != self.maximum and not isinstance(self.capacity, Block)

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the nodes; how they were bought, EKS says itself."""
        product = self.smallest.product
        # Set here and not discovered: billing must know the GPU of a node's first minute.
        gpu = {PRODUCT_LABEL: product, _GPU_LABEL: "true"} if product else {}
        return {POOL_LABEL: self.pool, **gpu}

    @property
    def taints(self) -> tuple[str, ...]:
        """Keys of its NoSchedule taints."""
        return (GPU_TAINT,) if self.smallest.gpus else ()


def planned_groups(cluster: EksCluster) -> tuple[PlannedGroup, ...]:
    """Every node group of a cluster; that of the system first."""
    nodes = cluster.nodes
    return (
        _system(nodes.system, cluster.zones),
        *(_slm(nodes.slm, cluster.zones) if nodes.slm else ()),
        *((_llm(nodes.llm),) if nodes.llm else ()),
        *((_training(nodes.training, cluster.zones),) if nodes.training else ()),
    )


def _system(nodes: SystemNodes, zones: tuple[str, ...]) -> PlannedGroup:
    return PlannedGroup(
        pool="system",
        name="system",
        instance_types=nodes.instance_types,
        price="on-demand",
        minimum=nodes.min,
        maximum=nodes.max,
        disk_gib=nodes.disk_gib,
        zones=zones,
    )


def _slm(nodes: SlmNodes, zones: tuple[str, ...]) -> Iterator[PlannedGroup]:
    if nodes.on_demand_floor:
        yield PlannedGroup(
            pool="slm",
            name="slm-floor",
            instance_types=nodes.instance_types,
            price="on-demand",
            minimum=nodes.on_demand_floor,
            maximum=nodes.on_demand_floor,
            disk_gib=nodes.disk_gib,
            zones=zones,
        )
    yield PlannedGroup(
        pool="slm",
        name="slm",
        instance_types=nodes.instance_types,
        price=nodes.price,
        minimum=nodes.min,
        maximum=nodes.max,
        disk_gib=nodes.disk_gib,
        zones=zones,
    )


def _llm(nodes: LlmNodes) -> PlannedGroup:
    capacity = nodes.capacity
    bought: OnDemandReservation | Block | None = None
    if isinstance(capacity, CapacityBlock):
        # EKS knows no group that cannot have a node, so at desired 0 the bound is 1.
        minimum, maximum = capacity.desired, max(capacity.desired, 1)
        bought = Block(id=capacity.id, version=capacity.version)
    elif isinstance(capacity, Reservation):
        minimum, maximum = capacity.min, capacity.instances
        bought = OnDemandReservation(id=capacity.id)
    else:
        minimum, maximum = capacity.min, capacity.max
    return PlannedGroup(
        pool="llm",
        name="llm",
        instance_types=(nodes.instance_type,),
        price="on-demand",
        minimum=minimum,
        maximum=maximum,
        disk_gib=nodes.disk_gib,
        zones=(nodes.zone,),
        capacity=bought,
        has_efa=instance(nodes.instance_type).efa > 0,
        # A block lies in one UltraCluster, and a reservation where it was made.
        placed_together=bought is None,
    )


def _training(nodes: TrainingNodes, zones: tuple[str, ...]) -> PlannedGroup:
    return PlannedGroup(
        pool="training",
        name="training",
        instance_types=nodes.instance_types,
        price=nodes.price,
        minimum=0,
        maximum=nodes.max,
        disk_gib=nodes.disk_gib,
        zones=zones,
    )
