"""A Valkey of one service on ElastiCache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

PORT = 6379


@dataclass(frozen=True, kw_only=True)
class ValkeyArgs:
    """Where it is, how large, and who may ask it."""

    provider: aws.Provider
    identifier: str
    """Of the replication group, at most 40 characters; what belongs to it is named after it."""
    vpc_id: pulumi.Input[str]
    subnets: Sequence[pulumi.Input[str]]
    clients: pulumi.Input[str]
    """Security group of the nodes, the only one that is let in."""
    kms_key: pulumi.Input[str]
    """ARN of the key that what is stored is encrypted with."""
    auth_token: pulumi.Input[str]
    """A secret."""
    engine_version: str
    node_type: str
    replicas: int
    snapshot_days: int
    tags: Mapping[str, str]


class Valkey(pulumi.ComponentResource):
    """The replication group with its network: TLS, a token, and nothing is ever evicted."""

    host: pulumi.Output[str]

    def __init__(
        self, name: str, args: ValkeyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The cache.
            opts: Options of the component.
        """
        super().__init__("pipeline:services:Valkey", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        group = _security_group(name, args, child)
        subnets = aws.elasticache.SubnetGroup(
            name,
            name=args.identifier,
            subnet_ids=list(args.subnets),
            tags=dict(args.tags),
            opts=child,
        )
        cluster = _replication_group(
            name, args, group, subnets, _parameters(name, args, child), child
        )
        self.host = cluster.primary_endpoint_address
        self.register_outputs({"host": self.host})


def _security_group(
    name: str, args: ValkeyArgs, opts: pulumi.ResourceOptions
) -> aws.ec2.SecurityGroup:
    group = aws.ec2.SecurityGroup(
        name,
        name=f"{args.identifier}-valkey",
        description=f"Valkey of {args.identifier}",
        vpc_id=args.vpc_id,
        tags=dict(args.tags),
        opts=opts,
    )
    aws.vpc.SecurityGroupIngressRule(
        name,
        security_group_id=group.id,
        referenced_security_group_id=args.clients,
        ip_protocol="tcp",
        from_port=PORT,
        to_port=PORT,
        description="nodes of the cluster",
        tags=dict(args.tags),
        opts=opts,
    )
    return group


def _parameters(
    name: str, args: ValkeyArgs, opts: pulumi.ResourceOptions
) -> aws.elasticache.ParameterGroup:
    major = args.engine_version.partition(".")[0]
    return aws.elasticache.ParameterGroup(
        name,
        name=f"{args.identifier}-{major}",
        family=f"valkey{major}",
        description="Valkey whose queues are never evicted",
        parameters=[
            aws.elasticache.ParameterGroupParameterArgs(name="maxmemory-policy", value="noeviction")
        ],
        tags=dict(args.tags),
        opts=opts,
    )


def _replication_group(
    name: str,
    args: ValkeyArgs,
    group: aws.ec2.SecurityGroup,
    subnets: aws.elasticache.SubnetGroup,
    parameters: aws.elasticache.ParameterGroup,
    opts: pulumi.ResourceOptions,
) -> aws.elasticache.ReplicationGroup:
    fails_over = args.replicas > 0
    return aws.elasticache.ReplicationGroup(
        name,
        replication_group_id=args.identifier,
        description=f"Valkey of {args.identifier}",
        engine="valkey",
        engine_version=args.engine_version,
        node_type=args.node_type,
        num_cache_clusters=1 + args.replicas,
        automatic_failover_enabled=fails_over,
        multi_az_enabled=fails_over,
        port=PORT,
        parameter_group_name=parameters.name,
        subnet_group_name=subnets.name,
        security_group_ids=[group.id],
        transit_encryption_enabled=True,
        transit_encryption_mode="required",
        at_rest_encryption_enabled=True,
        kms_key_id=args.kms_key,
        auth_token=pulumi.Output.secret(args.auth_token),
        # Clients with the token before stay connected until they have restarted.
        auth_token_update_strategy="ROTATE",  # noqa: S106  names what happens, no token
        snapshot_retention_limit=args.snapshot_days,
        auto_minor_version_upgrade=True,
        tags=dict(args.tags),
        opts=opts,
    )
