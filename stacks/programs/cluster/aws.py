"""From the configuration of a cluster in AWS to its network, control plane, nodes and add-ons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.eks_addons import EksAddonsArgs, NodeAddons, PodAddons, PodAddonsArgs
from components.eks_cluster import EksCluster, EksClusterArgs
from components.network import Network, NetworkArgs, ZoneSubnets
from components.node_group import NodeGroup, NodeGroupArgs
from components.nodes_role import NodesRole, NodesRoleArgs
from stacks.config import aws as config
from stacks.config.nodes import NodeGroups, block_state, refuse_block_upgrade
from stacks.policies.names import Account
from stacks.policies.trust import pods_of
from stacks.programs.cluster import context
from stacks.programs.cluster.node_plan import PlannedGroup, planned_groups

_BLOCK: Final = "capacity_block"
"""Output of the stack about the nodes of its Capacity Block."""


@dataclass(frozen=True, kw_only=True)
class AutoscaledGroup:
    """A group that the Cluster Autoscaler resizes."""

    name: pulumi.Output[str]
    """Of the Auto Scaling group."""
    minimum: int
    maximum: int


@dataclass(frozen=True, kw_only=True)
class Eks:
    """A cluster in AWS, ready for workloads."""

    aws: context.Aws
    account: Account
    """How things are named in it."""
    kubernetes: kubernetes.Provider
    kubeconfig: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    certificate_authority: pulumi.Output[str]
    autoscaled: tuple[AutoscaledGroup, ...]
    """All groups but those of fixed size and of Capacity Blocks."""
    has_efa: bool
    public_subnets: Mapping[str, pulumi.Output[str]]
    """Id by zone, for load balancers."""

    def trust_of(self, namespace: str, service_account: str) -> pulumi.Output[Mapping[str, Any]]:
        """Trust policy in the pods of a ServiceAccount of this cluster."""
        return _trust(self.account, self.aws.cluster_name, namespace, service_account)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What every resource of an environment has in common."""

    prefix: str
    """Of every name in the account; the cluster has it as its name."""
    protected: bool
    """Whether AWS and Pulumi refuse to delete what cannot be had back."""
    tags: Mapping[str, str]


def declare_aws(cluster: config.EksCluster, naming: Naming) -> Eks:
    """Declare everything below the workloads.

    Args:
        cluster: The configuration.
        naming: Names, tags and protection.
    """
    provider = aws.Provider("aws", region=cluster.region, allowed_account_ids=[cluster.account])
    network = _network(cluster, provider, naming)
    eks = _control_plane(cluster, provider, network, naming)
    account = Account(account=cluster.account, region=cluster.region, prefix=naming.prefix)
    addons = EksAddonsArgs(
        provider=provider,
        prefix=naming.prefix,
        cluster=eks.name,
        role_path=account.role_path(None),
        trust_of=partial(_trust, account, eks.name),
        tags=naming.tags,
        versions={str(name): version for name, version in cluster.addon_versions.items()},
    )
    before = NodeAddons(
        "node-addons", addons, pulumi.ResourceOptions(depends_on=[eks.control_plane])
    )
    groups = _nodes(cluster, provider, network, eks, naming, (*before.addons, *network.ways_out))
    system = next(declared for group, declared in groups if group.pool == "system")
    after = PodAddons(
        "pod-addons",
        PodAddonsArgs(addons=addons, kubernetes=eks.kubernetes),
        pulumi.ResourceOptions(depends_on=[system.node_group]),
    )
    return Eks(
        aws=context.Aws(
            provider=provider,
            account=cluster.account,
            region=cluster.region,
            vpc_id=network.vpc_id,
            vpc_cidr=cluster.network.cidr,
            private_subnets=network.private_subnets,
            cluster_name=eks.name,
            cluster_security_group=eks.security_group,
            ready=(eks.control_plane, system.node_group, *after.addons, after.storage_class),
        ),
        account=account,
        kubernetes=eks.kubernetes,
        kubeconfig=eks.kubeconfig,
        endpoint=eks.endpoint,
        certificate_authority=eks.certificate_authority,
        autoscaled=tuple(
            AutoscaledGroup(
                name=declared.autoscaling_group, minimum=group.minimum, maximum=group.maximum
            )
            for group, declared in groups
            if group.is_resized
        ),
        has_efa=any(group.has_efa for group, _ in groups),
        public_subnets=network.public_subnets,
    )


def keep_block_until_empty(nodes: NodeGroups, tags: Mapping[str, str]) -> None:
    """Refuse, during preview, an upgrade of nodes in a Capacity Block that run.

    A stack may read its own outputs, as they were when the update began; this one is compared with
    what the configuration wants, and then written for the next update.

    Args:
        nodes: The node groups that are wanted.
        tags: Of every resource.
    """
    wanted = block_state(nodes, tags)
    if wanted is None:
        return
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    deployed = pulumi.StackReference("last-update", stack_name=stack).get_output(_BLOCK)
    deployed.apply(lambda state: refuse_block_upgrade(wanted, state))
    pulumi.export(_BLOCK, wanted)


def _trust(
    account: Account, cluster: pulumi.Output[str], namespace: str, service_account: str
) -> pulumi.Output[Mapping[str, Any]]:
    return cluster.apply(lambda name: pods_of(account, name, namespace, service_account))


def _network(cluster: config.EksCluster, provider: aws.Provider, naming: Naming) -> Network:
    subnets = cluster.network.subnets
    zones = zip(cluster.zones, subnets.private, subnets.public, strict=True)
    return Network(
        "network",
        NetworkArgs(
            provider=provider,
            prefix=naming.prefix,
            region=cluster.region,
            account=cluster.account,
            cluster=naming.prefix,
            cidr=cluster.network.cidr,
            zones={
                zone: ZoneSubnets(private=private, public=public) for zone, private, public in zones
            },
            nat_per_zone=cluster.network.nat == "per-zone",
            tags=naming.tags,
        ),
    )


def _control_plane(
    cluster: config.EksCluster, provider: aws.Provider, network: Network, naming: Naming
) -> EksCluster:
    return EksCluster(
        "eks",
        EksClusterArgs(
            provider=provider,
            prefix=naming.prefix,
            version=cluster.version,
            vpc_id=network.vpc_id,
            private_subnets=list(network.private_subnets.values()),
            public_subnets=list(network.public_subnets.values()),
            service_cidr=cluster.network.service_cidr,
            public_access_cidrs=cluster.public_access_cidrs,
            api_clients=cluster.network.api_clients,
            admins=cluster.admins,
            viewers=cluster.viewers,
            log_types=cluster.log_types,
            protected=naming.protected,
            tags=naming.tags,
        ),
    )


def _nodes(
    cluster: config.EksCluster,
    provider: aws.Provider,
    network: Network,
    eks: EksCluster,
    naming: Naming,
    before: Sequence[pulumi.Resource],
) -> list[tuple[PlannedGroup, NodeGroup]]:
    planned = planned_groups(cluster)
    role = NodesRole(
        "nodes",
        NodesRoleArgs(
            provider=provider,
            prefix=naming.prefix,
            vpc_id=network.vpc_id,
            needs_efa=any(group.has_efa for group in planned),
            tags=naming.tags,
        ),
    )
    opts = pulumi.ResourceOptions(depends_on=[*before, *role.policies])
    return [
        (
            group,
            NodeGroup(
                f"nodes-{group.name}",
                NodeGroupArgs(
                    provider=provider,
                    group=f"{naming.prefix}-{group.name}",
                    cluster=eks.name,
                    cluster_security_group=eks.security_group,
                    role_arn=role.role.arn,
                    subnets=[network.private_subnets[zone] for zone in group.zones],
                    instance_types=group.instance_types,
                    price=group.price,
                    minimum=group.minimum,
                    maximum=group.maximum,
                    has_gpu=group.smallest.gpus > 0,
                    labels=group.labels,
                    taints=group.taints,
                    disk_gib=group.disk_gib,
                    capacity=group.capacity,
                    efa_interfaces=group.smallest.efa if group.has_efa else 0,
                    efa_security_group=role.efa_security_group if group.has_efa else None,
                    placed_together=group.placed_together,
                    tags=naming.tags,
                ),
                opts,
            ),
        )
        for group in planned
    ]
