"""Node groups: what runs on which instances, and how they are bought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.pod_reports.config import POOL_LABEL
from stacks.catalogue.instances import Instance, instance
from stacks.config.base import Config, written_as

NodePool = Literal["system", "slm", "llm", "training"]
"""What the label `custom-model-pipeline/pool` of a node says."""

GPU_TAINT: Final = "nvidia.com/gpu"
"""Key of the taint on every node with GPUs, with the effect NoSchedule."""
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
"""Label that billing reads the GPU type of a node from."""

ReservationId = Annotated[
    str, written_as(r"cr-[0-9a-f]{8,17}", "cr-<digits>, the id of a capacity reservation")
]
DiskGib = Annotated[int, Field(ge=50, le=16_384)]


@dataclass(frozen=True, kw_only=True)
class PoolNodes:
    """The nodes that the pods of a pool run on."""

    selector: Mapping[str, str]
    """Labels of the nodes."""
    toleration: str | None
    """Key of the taint (NoSchedule) on them; None where there is none."""
    instances: tuple[Instance, ...]
    """What a node may be; the first is the smallest."""


def _alike(names: Sequence[str]) -> tuple[Instance, ...]:
    """The instance types of one group.

    The autoscaler plans with the first of them, so nothing that fits it may miss another one.

    Raises:
        ValueError: One is unknown, or they differ in GPU, or the first is not the smallest.
    """
    first, *others = (instance(name) for name in names)
    for other in others:
        if other.gpu != first.gpu:
            raise ValueError(
                f"{first.name} has {_gpu(first)} and {other.name} has {_gpu(other)}: the instance "
                "types of a group have the same GPU; remove one"
            )
        if (other.vcpu, other.ram_gib, other.gpus) < (first.vcpu, first.ram_gib, first.gpus) or (
            other.ram_gib < first.ram_gib or other.gpus < first.gpus
        ):
            raise ValueError(
                f"{other.name} is smaller than {first.name}: the autoscaler plans with the first "
                "type of a group; put the smallest first"
            )
    return (first, *others)


def _gpu(of: Instance) -> str:
    return f"{of.gpus} x {of.gpu}" if of.gpu else "no GPU"


def _with_gpu(names: Sequence[str]) -> tuple[Instance, ...]:
    found = _alike(names)
    if not found[0].gpus:
        raise ValueError(f"{found[0].name} has no GPU: models need one, such as g6.xlarge")
    return found


def _ordered(low: int, high: int) -> None:
    if low > high:
        raise ValueError(f"min is {low} and max is {high}: max must be at least min")


class SystemNodes(Config):
    """Nodes of everything that needs no GPU; always on-demand."""

    instance_types: tuple[str, ...] = Field(
        ("m7i.xlarge", "m7a.xlarge"), min_length=1, description="without GPU, the smallest first"
    )
    min: int = Field(3, ge=2, le=100, description="nodes at least; 3 puts one in each zone")
    max: int = Field(6, ge=2, le=100, description="nodes at most")
    disk_gib: DiskGib = Field(100, description="root volume of a node (images, scratch), GiB")

    @field_validator("instance_types")
    @classmethod
    def _no_gpu(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        first = _alike(names)[0]
        if first.gpus:
            raise ValueError(f"{first.name} has {_gpu(first)}: system nodes need none")
        return names

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        _ordered(self.min, self.max)
        return self


class SlmNodes(Config):
    """Nodes of the pool slm."""

    instance_types: tuple[str, ...] = Field(
        ("g6.xlarge",), min_length=1, description="of one GPU model, the smallest first"
    )
    price: Literal["spot", "on-demand"] = Field("spot", description="how they are bought")
    min: int = Field(0, ge=0, le=100, description="nodes at least, beside the floor")
    max: int = Field(4, ge=1, le=100, description="nodes at most, beside the floor")
    on_demand_floor: int = Field(
        0, ge=0, le=100, description="on-demand nodes that are always there (a group of their own)"
    )
    disk_gib: DiskGib = Field(200, description="root volume of a node (images, weights), GiB")

    _known = field_validator("instance_types")(lambda names: _with_gpu(names) and names)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        _ordered(self.min, self.max)
        if self.on_demand_floor and self.price == "on-demand":
            raise ValueError(
                f"on_demand_floor is {self.on_demand_floor}, but every node is on-demand: "
                "set min instead"
            )
        return self


class OnDemand(Config):
    """Nodes without a reservation: they start when AWS has some."""

    kind: Literal["on-demand"]
    min: int = Field(1, ge=0, le=64, description="nodes at least")
    max: int = Field(1, ge=1, le=64, description="nodes at most")

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        _ordered(self.min, self.max)
        return self


class Reservation(Config):
    """Nodes in an On-Demand Capacity Reservation that exists already; it is never bought here."""

    kind: Literal["reservation"]
    id: ReservationId = Field(description="of the reservation, cr-…")
    instances: int = Field(ge=1, le=64, description="instances that it holds")
    min: int = Field(1, ge=0, le=64, description="nodes at least")

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.min > self.instances:
            raise ValueError(f"min is {self.min}, the reservation holds {self.instances}")
        return self


class CapacityBlock(Config):
    """Nodes in a Capacity Block for ML that was bought already; it is never bought here."""

    kind: Literal["block"]
    id: ReservationId = Field(description="of the block's reservation, cr-…")
    instances: int = Field(ge=1, le=64, description="instances that were bought")
    desired: int = Field(
        ge=0, le=64, description="nodes now: 0 before the block starts, and before it ends"
    )
    version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")] = Field(
        description="Kubernetes version of its nodes; changed at desired 0 only"
    )

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.desired > self.instances:
            raise ValueError(f"desired is {self.desired}, the block holds {self.instances}")
        return self


Capacity = Annotated[OnDemand | Reservation | CapacityBlock, Field(discriminator="kind")]


class LlmNodes(Config):
    """Nodes of the pool llm, all in one zone."""

    instance_type: str = Field("p5.48xlarge", description="the one type of the group")
    zone: str = Field(description="availability zone, that of the reservation or block")
    capacity: Capacity = Field(description="on-demand, reservation or block")
    disk_gib: DiskGib = Field(500, description="root volume of a node (images, weights), GiB")

    @model_validator(mode="after")
    def _has_blocks(self) -> Self:
        (found,) = _with_gpu([self.instance_type])
        if self.capacity.kind == "block" and not found.has_blocks:
            raise ValueError(
                f"instance_type {found.name}: AWS sells no Capacity Blocks of it; "
                "use a P5 type, or capacity of the kind on-demand or reservation"
            )
        return self

    @property
    def max(self) -> int:
        """Nodes at most."""
        return self.capacity.max if isinstance(self.capacity, OnDemand) else self.capacity.instances


class TrainingNodes(Config):
    """Nodes of training and evaluation jobs; none while no job runs."""

    instance_types: tuple[str, ...] = Field(
        min_length=1, description="of one GPU model, the smallest first"
    )
    price: Literal["spot", "on-demand"] = Field(description="how they are bought")
    checkpoints: bool = Field(
        description="whether every job continues from a checkpoint after an interruption"
    )
    max: int = Field(2, ge=1, le=100, description="nodes at most")
    disk_gib: DiskGib = Field(500, description="root volume of a node (images, weights), GiB")

    _known = field_validator("instance_types")(lambda names: _with_gpu(names) and names)

    @model_validator(mode="after")
    def _survive_interruptions(self) -> Self:
        if self.price == "spot" and not self.checkpoints:
            raise ValueError(
                "price is spot and checkpoints is false: an interrupted job would begin again "
                "from step 0; set price: on-demand, or checkpoints: true once jobs write them"
            )
        return self


class NodeGroups(Config):
    """Every node group of a cluster."""

    system: SystemNodes = SystemNodes()
    slm: SlmNodes | None = Field(None, description="nodes of the pool slm; none without the pool")
    llm: LlmNodes | None = Field(None, description="nodes of the pool llm; none without the pool")
    training: TrainingNodes | None = Field(None, description="none: no domain can be trained here")

    @property
    def most(self) -> int:
        """Nodes of all groups together at most."""
        floor = self.slm.on_demand_floor if self.slm else 0
        return floor + sum(
            group.max for group in (self.system, self.slm, self.llm, self.training) if group
        )

    def of(self, pool: NodePool) -> PoolNodes:
        """Where the pods of a pool run.

        Raises:
            ValueError: There is no such group.
        """
        group = {
            "system": self.system,
            "slm": self.slm,
            "llm": self.llm,
            "training": self.training,
        }[pool]
        if group is None:
            raise ValueError(f"pool {pool} has no nodes: add cluster.nodes.{pool}")
        names = [group.instance_type] if isinstance(group, LlmNodes) else group.instance_types
        return PoolNodes(
            selector={POOL_LABEL: pool},
            toleration=GPU_TAINT if pool != "system" else None,
            instances=tuple(instance(name) for name in names),
        )


def block_state(nodes: NodeGroups, tags: Mapping[str, str]) -> dict[str, object] | None:
    """What a stack keeps about the nodes of its Capacity Block; None without one.

    Args:
        nodes: The node groups.
        tags: Of every resource, and so of each node.
    """
    llm = nodes.llm
    if llm is None or not isinstance(llm.capacity, CapacityBlock):
        return None
    return {
        "desired": llm.capacity.desired,
        "nodes": {
            "capacity.version": llm.capacity.version,
            "capacity.id": llm.capacity.id,
            "instance_type": llm.instance_type,
            "disk_gib": llm.disk_gib,
            "tags": dict(tags),
        },
    }


def refuse_block_upgrade(
    wanted: Mapping[str, Any] | None, deployed: Mapping[str, Any] | None
) -> None:
    """Check that a block's nodes are upgraded while there are none, as EKS asks.

    Every change of what a node is made of is an upgrade: it has a new launch template.

    Args:
        wanted: `block_state` of the configuration.
        deployed: `block_state` of the last update.

    Raises:
        ValueError: Nodes would be upgraded while they run.
    """
    if not wanted or not deployed or not (wanted["desired"] or deployed["desired"]):
        return
    # Numbers come back from a stack's outputs as floats, which compare alike.
    changed = [key for key, of in wanted["nodes"].items() if deployed["nodes"].get(key) != of]
    if changed:
        raise ValueError(
            f"cluster.nodes.llm: {', '.join(changed)} would change nodes of a Capacity Block, of "
            f"which {deployed['desired']:.0f} run and {wanted['desired']} are wanted: EKS upgrades "
            "them at desired size 0 only; change it back, set capacity.desired: 0, update, then "
            "change it and update, then raise desired"
        )
