"""What an environment on Kubernetes tells its domain stacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi

from components.object_store import ObjectStoreAccess
from components.pods import CONFIG_DIRECTORY, NetworkPeer
from components.router import SERVICE as ROUTER
from components.router_pod import HTTP_PORT
from registry.names import PoolName
from stacks.config.cluster_environment import ClusterEnvironment
from stacks.config.edge import NoTls
from stacks.config.existing import ExistingCluster
from stacks.config.pools import BucketWeights, ModelPool
from stacks.contract import (
    AwsPlace,
    ContextAccess,
    EksAccess,
    EnvironmentContract,
    KubernetesPlace,
    ObjectStorePlace,
    PoolContract,
    TrainingNodes,
)
from stacks.programs.cluster.base import Base, context_of
from stacks.programs.cluster.context import OPERATIONS, SERVING, TRAINING
from stacks.programs.cluster.edge import EdgeOutputs
from stacks.programs.cluster.pools import PoolEndpoint
from stacks.programs.cluster.services import Services
from stacks.programs.cluster.storage import Storage

PUBLIC_KEY: Final = "evaluation.pub"
"""File of jobs and stacks that verdicts are verified with."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an environment is made of."""

    config: ClusterEnvironment
    base: Base
    storage: Storage
    services: Services
    pools: Mapping[PoolName, PoolEndpoint]
    edge: EdgeOutputs


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known once the account has answered."""

    public_key: str
    evaluation_key: str
    storage_key: str
    signing_key: str
    cluster: str
    endpoint: str
    certificate_authority: str


def contract_of(parts: Parts) -> pulumi.Output[EnvironmentContract]:
    """The contract, as soon as all of it is known."""
    eks, identities = parts.base.eks, parts.storage.identities
    return pulumi.Output.all(
        public_key=parts.storage.evaluation_public_key,
        evaluation_key=parts.storage.evaluation_key,
        storage_key="" if identities is None else identities.storage_key,
        signing_key="" if identities is None else identities.signing_key,
        cluster="" if eks is None else eks.aws.cluster_name,
        endpoint="" if eks is None else eks.endpoint,
        certificate_authority="" if eks is None else eks.certificate_authority,
    ).apply(lambda known: _contract(parts, _Known(**known)))


def _contract(parts: Parts, known: _Known) -> EnvironmentContract:
    config, storage = parts.config, parts.storage
    return EnvironmentContract(
        environment=config.name,
        phase=config.phase,
        place=_place(parts, known),
        registry_uri=storage.registry_uri,
        evaluation_key=known.evaluation_key,
        evaluation_public_key=f"{CONFIG_DIRECTORY}/{PUBLIC_KEY}",
        mlflow_url=parts.services.mlflow_url,
        edge_url=_edge_url(config),
        namespace=SERVING,
        gateway=parts.edge.gateway,
        router_service=ROUTER,
        router_port=HTTP_PORT,
        pools={
            name: _pool(config.pools[name], endpoint, storage.models_uri)
            for name, endpoint in parts.pools.items()
        },
        adapter_pools=config.adapter_pools,
        adapters=config.adapters,
    )


def _edge_url(config: ClusterEnvironment) -> str:
    scheme = "http" if isinstance(config.edge.tls, NoTls) else "https"
    return f"{scheme}://{config.edge.hostname}/v1"


def _pool(config: ModelPool, endpoint: PoolEndpoint, models_uri: str) -> PoolContract:
    source = config.weights.to_train_on
    uri = source.uri if isinstance(source, BucketWeights) else f"{models_uri}/{config.model}"
    return PoolContract(
        served_model_name=endpoint.served_base,
        base_id=endpoint.base_id,
        # With the slash it is everything below.
        base_model=f"{uri.rstrip('/')}/",
        openai_url=endpoint.openai_url,
    )


def _place(parts: Parts, known: _Known) -> KubernetesPlace:
    config, limit = parts.config, parts.edge.domain_limit
    return KubernetesPlace(
        access=_access(parts, known),
        training_namespace=TRAINING,
        operations_namespace=OPERATIONS,
        infra_image=config.images.infra,
        train_image=config.images.train,
        object_store=_object_store(parts.base.cluster.object_store),
        requests_per_second=None if limit is None else limit.per_second,
        burst=None if limit is None else limit.burst,
        training=_training(config),
        mlflow_secret=config.services.mlflow.secret,
        evaluation_secret=None
        if parts.storage.evaluation_secret is None
        else parts.storage.evaluation_secret.secret,
        evaluation_public_key=known.public_key,
        aws=_aws(parts, known),
    )


def _access(parts: Parts, known: _Known) -> EksAccess | ContextAccess:
    place = parts.base.place
    if isinstance(place, ExistingCluster):
        return context_of(place)
    return EksAccess(
        account=place.aws.account,
        region=place.aws.region,
        cluster=known.cluster,
        endpoint=known.endpoint,
        certificate_authority=known.certificate_authority,
    )


def _object_store(access: ObjectStoreAccess) -> ObjectStorePlace:
    return ObjectStorePlace(
        environment=dict(access.environment),
        secret=next((ref.secret for ref in access.secrets.values()), None),
        networks={peer.cidr: peer.port for peer in access.peers if isinstance(peer, NetworkPeer)},
    )


def _training(config: ClusterEnvironment) -> TrainingNodes | None:
    cluster = config.provisioned
    price = cluster.training_price
    if price is None:
        return None
    nodes = cluster.pool_nodes("training")
    smallest = nodes.instances[0]
    return TrainingNodes(
        labels=dict(nodes.selector),
        gpus=smallest.gpus,
        vcpu=smallest.vcpu,
        ram_gib=smallest.ram_gib,
        price=price,
    )


def _aws(parts: Parts, known: _Known) -> AwsPlace | None:
    if parts.storage.identities is None:
        return None
    account = parts.storage.identities.account
    return AwsPlace(
        account=account.account,
        region=account.region,
        prefix=account.prefix,
        cluster=known.cluster,
        storage_key=known.storage_key,
        signing_key=known.signing_key,
        tags=dict(parts.base.cluster.tags),
    )
