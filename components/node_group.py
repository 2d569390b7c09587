"""A group of nodes: launch template and EKS managed node group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pulumi
import pulumi_aws as aws

_ROOT: Final = "/dev/xvda"
_PRIMARY, _OTHER = 0, 1
"""Device index of the interface on the first network card, and on each further one."""
_MAX_GROUP_NAME: Final = 36
"""EKS allows 63, and the provider appends a - and 26 digits."""

Price = Literal["on-demand", "spot"]


@dataclass(frozen=True, kw_only=True)
class OnDemandReservation:
    """An On-Demand Capacity Reservation."""

    id: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A Capacity Block for ML."""

    id: str
    version: str
    """Kubernetes version of its nodes."""


@dataclass(frozen=True, kw_only=True)
class NodeGroupArgs:
    """What the nodes are and how many there may be."""

    provider: aws.Provider
    group: str
    """Name of the group, with the prefix of the environment; a suffix makes it unique."""
    cluster: pulumi.Input[str]
    cluster_security_group: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    subnets: Sequence[pulumi.Input[str]]
    instance_types: Sequence[str]
    price: Price
    minimum: int
    maximum: int
    """At least 1: EKS knows no group that cannot have a node."""
    has_gpu: bool
    labels: Mapping[str, str]
    taints: Sequence[str]
    """Keys; the effect is NoSchedule."""
    disk_gib: int
    capacity: OnDemandReservation | Block | None = None
    efa_interfaces: int = 0
    efa_security_group: pulumi.Input[str] | None = None
    placed_together: bool = False
    """Whether a cluster placement group keeps the nodes near each other."""
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.group) > _MAX_GROUP_NAME:
            raise ValueError(
                f"node group {self.group!r} has {len(self.group)} characters, {_MAX_GROUP_NAME} "
                "are possible: shorten the environment's prefix"
            )
        if self.has_gpu and not self.taints:
            raise ValueError(
                f"node group {self.group}: nodes with GPUs need a taint, such as nvidia.com/gpu, "
                "so that nothing else fills them"
            )
        if isinstance(self.capacity, Block) and len(self.instance_types) != 1:
            raise ValueError(
                f"node group {self.group}: a Capacity Block is of one instance type, not "
                f"{', '.join(self.instance_types)}"
            )


class NodeGroup(pulumi.ComponentResource):
    """Nodes with encrypted disks, metadata by IMDSv2 alone, and tags on all that they cost."""

    node_group: aws.eks.NodeGroup
    autoscaling_group: pulumi.Output[str]
    """Name of the group that the Cluster Autoscaler resizes."""

    def __init__(
        self, name: str, args: NodeGroupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The nodes.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:NodeGroup", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        template = aws.ec2.LaunchTemplate(
            name, _template(args, _placement(name, args, child)), opts=child
        )
        self.node_group = aws.eks.NodeGroup(
            name,
            _group(args, template),
            opts=pulumi.ResourceOptions.merge(child, _lifecycle(args.capacity)),
        )
        self.autoscaling_group = self.node_group.resources.apply(_autoscaling_group)
        self.register_outputs({"node_group": self.node_group.node_group_name})


def _lifecycle(capacity: OnDemandReservation | Block | None) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(
        # The autoscaler moves the size between the bounds; that of a block is a decision.
        ignore_changes=None if isinstance(capacity, Block) else ["scalingConfig.desiredSize"],
        # A reservation has no room for the old nodes and the new ones.
        delete_before_replace=capacity is not None,
    )


def _autoscaling_group(resources: Sequence[aws.eks.outputs.NodeGroupResource]) -> str:
    """The one that EKS made for the node group."""
    names = [group.name for each in resources for group in each.autoscaling_groups or ()]
    if len(names) != 1 or names[0] is None:
        raise ValueError(f"EKS names {names} as Auto Scaling groups of a node group: one was due")
    return names[0]


def _group(args: NodeGroupArgs, template: aws.ec2.LaunchTemplate) -> aws.eks.NodeGroupArgs:
    block = args.capacity if isinstance(args.capacity, Block) else None
    prices = {"on-demand": "ON_DEMAND", "spot": "SPOT"}
    return aws.eks.NodeGroupArgs(
        cluster_name=args.cluster,
        node_group_name_prefix=f"{args.group}-",
        node_role_arn=args.role_arn,
        subnet_ids=list(args.subnets),
        ami_type="AL2023_x86_64_NVIDIA" if args.has_gpu else "AL2023_x86_64_STANDARD",
        capacity_type="CAPACITY_BLOCK" if block else prices[args.price],
        # The launch template names the type of a block.
        instance_types=None if block else list(args.instance_types),
        version=block.version if block else None,
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
            id=template.id, version=template.latest_version.apply(str)
        ),
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(
            min_size=args.minimum, max_size=args.maximum, desired_size=args.minimum
        ),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
        labels=dict(args.labels),
        taints=[
            aws.eks.NodeGroupTaintArgs(key=key, value="present", effect="NO_SCHEDULE")
            for key in args.taints
        ],
        tags={**args.tags, "Name": args.group},
    )


def _template(
    args: NodeGroupArgs, placement: aws.ec2.LaunchTemplatePlacementArgs | None
) -> aws.ec2.LaunchTemplateArgs:
    is_block = isinstance(args.capacity, Block)
    return aws.ec2.LaunchTemplateArgs(
        name=args.group,
        description=f"Nodes of {args.group}",
        update_default_version=True,
        instance_type=args.instance_types[0] if is_block else None,
        instance_market_options=aws.ec2.LaunchTemplateInstanceMarketOptionsArgs(
            market_type="capacity-block"
        )
        if is_block
        else None,
        capacity_reservation_specification=_reservation(args),
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled",
            http_tokens="required",
            # Pods are one hop further away, and get no credentials of the node.
            http_put_response_hop_limit=1,
        ),
        block_device_mappings=[_disk(args.disk_gib)],
        network_interfaces=_interfaces(args) or None,
        vpc_security_group_ids=None if args.efa_interfaces else [args.cluster_security_group],
        placement=placement,
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(
                resource_type=kind, tags={**args.tags, "Name": args.group}
            )
            for kind in ("instance", "volume", "network-interface")
        ],
        tags={**args.tags, "Name": args.group},
    )


def _disk(gib: int) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
    return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
        device_name=_ROOT,
        ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_type="gp3", volume_size=gib, encrypted="true", delete_on_termination="true"
        ),
    )


def _reservation(
    args: NodeGroupArgs,
) -> aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs | None:
    if args.capacity is None:
        return None
    # The target names the reservation; no other one is used, and none of it is left to others.
    return aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs(
        capacity_reservation_target=(
            aws.ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
                capacity_reservation_id=args.capacity.id
            )
        )
    )


def _interfaces(args: NodeGroupArgs) -> list[aws.ec2.LaunchTemplateNetworkInterfaceArgs]:
    """One interface on each network card; only the first has an address.

    Source: EC2 user guide, "Maximize network bandwidth on instances with multiple network cards".
    """
    groups = [args.cluster_security_group]
    if args.efa_security_group is not None:
        groups.append(args.efa_security_group)
    return [
        aws.ec2.LaunchTemplateNetworkInterfaceArgs(
            network_card_index=card,
            device_index=_OTHER if card else _PRIMARY,
            interface_type="efa-only" if card else "efa",
            security_groups=groups,
            delete_on_termination="true",
        )
        for card in range(args.efa_interfaces)
    ]


def _placement(
    name: str, args: NodeGroupArgs, opts: pulumi.ResourceOptions
) -> aws.ec2.LaunchTemplatePlacementArgs | None:
    if not args.placed_together:
        return None
    group = aws.ec2.PlacementGroup(
        name,
        name=args.group,
        strategy="cluster",
        tags={**args.tags, "Name": args.group},
        opts=opts,
    )
    return aws.ec2.LaunchTemplatePlacementArgs(group_name=group.name)
