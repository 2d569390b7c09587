"""A Postgres of one service on RDS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

PORT = 5432
_INSIGHTS_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class PostgresArgs:
    """Where it is, how large, and how well it is kept."""

    provider: aws.Provider
    identifier: str
    """Of the instance; what belongs to it is named after it."""
    database: str
    username: str
    """Owner of everything in it."""
    vpc_id: pulumi.Input[str]
    subnets: Sequence[pulumi.Input[str]]
    clients: pulumi.Input[str]
    """Security group of the nodes, the only one that is let in."""
    kms_key: pulumi.Input[str]
    """ARN of the key that the storage is encrypted with."""
    engine_version: str
    instance_class: str
    storage_gib: int
    max_storage_gib: int
    multi_az: bool
    deletion_protection: bool
    """AWS refuses to delete it, and so does this program."""
    backup_days: int
    performance_insights: bool
    password_rotation_days: int
    tags: Mapping[str, str]


class Postgres(pulumi.ComponentResource):
    """The instance, its network, and the rotation of its password, which this program never sees.

    The owner of the database is RDS's master user: a service has an instance of its own, so there
    is nobody to keep it from. RDS makes the password, and Secrets Manager holds it.
    """

    host: pulumi.Output[str]
    secret_arn: pulumi.Output[str]
    """Of the secret with the properties username and password."""

    def __init__(
        self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The database.
            opts: Options of the component.
        """
        super().__init__("pipeline:services:Postgres", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        group = _security_group(name, args, child)
        subnets = aws.rds.SubnetGroup(
            name,
            name=args.identifier,
            subnet_ids=list(args.subnets),
            tags=dict(args.tags),
            opts=child,
        )
        instance = _instance(name, args, group, subnets, _parameters(name, args, child), child)
        self.host = instance.address
        self.secret_arn = instance.master_user_secrets.apply(_arn)
        # Of a secret that AWS owns only the schedule can be set.
        aws.secretsmanager.SecretRotation(
            name,
            secret_id=self.secret_arn,
            rotate_immediately=False,
            rotation_rules=aws.secretsmanager.SecretRotationRotationRulesArgs(
                automatically_after_days=args.password_rotation_days
            ),
            # The schedule goes with the secret, and the secret with the instance.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=True)),
        )
        self.register_outputs({"host": self.host})


def _arn(secrets: Sequence[aws.rds.outputs.InstanceMasterUserSecret]) -> str:
    """ARN of the one secret that RDS made."""
    (secret,) = secrets
    return str(secret.secret_arn)


def _security_group(
    name: str, args: PostgresArgs, opts: pulumi.ResourceOptions
) -> aws.ec2.SecurityGroup:
    group = aws.ec2.SecurityGroup(
        name,
        name=args.identifier,
        description=f"Postgres of {args.identifier}",
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
    name: str, args: PostgresArgs, opts: pulumi.ResourceOptions
) -> aws.rds.ParameterGroup:
    major = args.engine_version.partition(".")[0]
    return aws.rds.ParameterGroup(
        name,
        name=f"{args.identifier}-{major}",
        family=f"postgres{major}",
        description="Postgres that refuses connections without TLS",
        parameters=[aws.rds.ParameterGroupParameterArgs(name="rds.force_ssl", value="1")],
        tags=dict(args.tags),
        opts=opts,
    )


def _instance(
    name: str,
    args: PostgresArgs,
    group: aws.ec2.SecurityGroup,
    subnets: aws.rds.SubnetGroup,
    parameters: aws.rds.ParameterGroup,
    opts: pulumi.ResourceOptions,
) -> aws.rds.Instance:
    return aws.rds.Instance(
        name,
        identifier=args.identifier,
        engine="postgres",
        engine_version=args.engine_version,
        instance_class=args.instance_class,
        db_name=args.database,
        username=args.username,
        manage_master_user_password=True,
        storage_type="gp3",
        allocated_storage=args.storage_gib,
        max_allocated_storage=args.max_storage_gib,
        storage_encrypted=True,
        kms_key_id=args.kms_key,
        db_subnet_group_name=subnets.name,
        vpc_security_group_ids=[group.id],
        parameter_group_name=parameters.name,
        publicly_accessible=False,
        multi_az=args.multi_az,
        backup_retention_period=args.backup_days,
        copy_tags_to_snapshot=True,
        auto_minor_version_upgrade=True,
        deletion_protection=args.deletion_protection,
        skip_final_snapshot=False,
        final_snapshot_identifier=f"{args.identifier}-final",
        performance_insights_enabled=args.performance_insights,
        performance_insights_retention_period=_INSIGHTS_DAYS if args.performance_insights else None,
        enabled_cloudwatch_logs_exports=["postgresql", "upgrade"],
        tags=dict(args.tags),
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(protect=args.deletion_protection)
        ),
    )
