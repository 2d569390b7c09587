"""What the services keep their data in, beside volumes."""

from dataclasses import dataclass

import pulumi

from components import postgres, valkey
from components.pods import NetworkPeer, Peer
from components.postgres import Postgres, PostgresArgs
from components.valkey import Valkey, ValkeyArgs
from stacks.config.load import ConfigError
from stacks.config.services import (
    ElastiCacheValkey,
    ExternalPostgres,
    ExternalValkey,
    RdsPostgres,
)
from stacks.programs.cluster.context import Aws, Cluster


@dataclass(frozen=True, kw_only=True)
class ServiceStores:
    """Object storage of the services, and how what they have in the account is named and kept."""

    prefix: str
    """Names of everything in the account begin with it."""
    kms_key: pulumi.Input[str] | None
    """ARN of the key of what is stored; None on a cluster that exists."""
    mlflow_artifacts: pulumi.Input[str] | None
    """`s3://…`; None: on MLflow's volume."""
    traces_uri: str | None = None
    """`s3://…`, the bucket of Langfuse's events; None where traces go elsewhere."""


def account_of(cluster: Cluster) -> Aws:
    """The account.

    Raises:
        ConfigError: The cluster is in none.
    """
    if cluster.aws is None:
        raise ConfigError(
            "services: source secrets-manager and the kinds rds and elasticache need "
            "cluster.kind eks: use existing, external or sqlite"
        )
    return cluster.aws


def postgres_of(
    config: RdsPostgres, cluster: Cluster, stores: ServiceStores, service: str
) -> Postgres:
    """Declare the database of a service, which owns it under its own name.

    Raises:
        ConfigError: The cluster is in no account.
    """
    account = account_of(cluster)
    identifier = f"{stores.prefix}-{service}"
    return Postgres(
        identifier,
        PostgresArgs(
            provider=account.provider,
            identifier=identifier,
            database=service,
            username=service,
            vpc_id=account.vpc_id,
            subnets=list(account.private_subnets.values()),
            clients=account.cluster_security_group,
            kms_key=_key_of(stores),
            engine_version=config.engine_version,
            instance_class=config.instance_class,
            storage_gib=config.storage_gib,
            max_storage_gib=config.max_storage_gib,
            multi_az=config.multi_az,
            deletion_protection=config.deletion_protection,
            backup_days=config.backup_days,
            performance_insights=config.performance_insights,
            password_rotation_days=config.password_rotation_days,
            tags=cluster.tags,
        ),
    )


def valkey_of(
    config: ElastiCacheValkey,
    cluster: Cluster,
    stores: ServiceStores,
    *,
    service: str,
    auth_token: pulumi.Input[str],
) -> Valkey:
    """Declare the cache of a service.

    Raises:
        ConfigError: The cluster is in no account.
    """
    account = account_of(cluster)
    identifier = f"{stores.prefix}-{service}"
    return Valkey(
        identifier,
        ValkeyArgs(
            provider=account.provider,
            identifier=identifier,
            vpc_id=account.vpc_id,
            subnets=list(account.private_subnets.values()),
            clients=account.cluster_security_group,
            kms_key=_key_of(stores),
            auth_token=auth_token,
            engine_version=config.engine_version,
            node_type=config.node_type,
            replicas=config.replicas,
            snapshot_days=config.snapshot_days,
            tags=cluster.tags,
        ),
    )


def postgres_peers(config: RdsPostgres | ExternalPostgres, cluster: Cluster) -> tuple[Peer, ...]:
    """Where a Postgres is, for NetworkPolicies."""
    if isinstance(config, RdsPostgres):
        return (NetworkPeer(cidr=account_of(cluster).vpc_cidr, port=postgres.PORT),)
    return tuple(NetworkPeer(cidr=cidr, port=config.port) for cidr in config.networks)


def valkey_peers(config: ElastiCacheValkey | ExternalValkey, cluster: Cluster) -> tuple[Peer, ...]:
    """Where a Valkey is, for NetworkPolicies."""
    if isinstance(config, ElastiCacheValkey):
        return (NetworkPeer(cidr=account_of(cluster).vpc_cidr, port=valkey.PORT),)
    return tuple(NetworkPeer(cidr=cidr, port=config.port) for cidr in config.networks)


def _key_of(stores: ServiceStores) -> pulumi.Input[str]:
    if stores.kms_key is None:
        raise ConfigError("services: an environment in an account has a key for what is stored")
    return stores.kms_key
