"""What an environment stands on: a cluster of its own in AWS, or one that exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as kubernetes

from components.object_store import ObjectStoreAccess
from components.pods import POD_IDENTITY, NetworkPeer, SecretKey
from stacks.config.aws import EksCluster
from stacks.config.cluster_environment import ClusterEnvironment
from stacks.config.existing import ExistingCluster, ObjectStorage
from stacks.contract import ContextAccess
from stacks.paths import PROJECT
from stacks.programs.cluster import access
from stacks.programs.cluster.aws import Eks, Naming, declare_aws
from stacks.programs.cluster.context import Cluster

_PORTS: Final = {"http": 80, "https": 443}
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_WORKLOADS: Final = "workloads"


@dataclass(frozen=True, kw_only=True)
class Base:
    """The cluster, before anything of the environment is on it."""

    cluster: Cluster
    place: ExistingCluster | Eks

    @property
    def ready(self) -> tuple[pulumi.Resource, ...]:
        """What must stand before the first pod."""
        return self.place.aws.ready if isinstance(self.place, Eks) else ()

    def workloads(self, *, depends_on: Sequence[pulumi.Resource]) -> kubernetes.Provider:
        """The provider of everything that runs: whoever uses it comes after `depends_on`."""
        opts = pulumi.ResourceOptions(depends_on=list(depends_on))
        if isinstance(self.place, ExistingCluster):
            return access.provider(_WORKLOADS, context_of(self.place), opts)
        return kubernetes.Provider(
            _WORKLOADS,
            kubeconfig=self.place.kubeconfig,
            enable_server_side_apply=True,
            # A cluster that is gone took its objects along.
            delete_unreachable=True,
            opts=opts,
        )


def declare_base(config: ClusterEnvironment) -> Base:
    """Declare the cluster of an environment, or name the one that exists."""
    tags = {
        "project": PROJECT,
        "environment": config.name,
        "managed-by": "pulumi",
        **config.tags,
    }
    if isinstance(config.cluster, ExistingCluster):
        return Base(cluster=_existing(config, config.cluster, tags), place=config.cluster)
    naming = Naming(prefix=config.prefix, protected=config.production, tags=tags)
    eks = declare_aws(config.cluster, naming)
    cluster = Cluster(
        environment=config.name,
        kubernetes=eks.kubernetes,
        aws=eks.aws,
        images=config.images,
        operators=config.operators.there(),
        api_server=config.cluster.api_server,
        object_store=_in_vpc(config.cluster),
        tags=tags,
    )
    return Base(cluster=cluster, place=eks)


def context_of(cluster: ExistingCluster) -> ContextAccess:
    """How a cluster that exists is reached."""
    return ContextAccess(context=cluster.context)


def _existing(
    config: ClusterEnvironment, cluster: ExistingCluster, tags: Mapping[str, str]
) -> Cluster:
    return Cluster(
        environment=config.name,
        kubernetes=access.provider("cluster", context_of(cluster)),
        aws=None,
        images=config.images,
        operators=config.operators.there(),
        api_server=cluster.api_server.cidr,
        object_store=_beside(cluster.object_storage),
        tags=tags,
    )


def _in_vpc(cluster: EksCluster) -> ObjectStoreAccess:
    """S3 through its interface endpoint, as the role of the pod's ServiceAccount."""
    return ObjectStoreAccess(
        environment={"AWS_REGION": cluster.region, "AWS_DEFAULT_REGION": cluster.region},
        peers=(NetworkPeer(cidr=cluster.network.cidr, port=_PORTS["https"]), POD_IDENTITY),
    )


def _beside(storage: ObjectStorage) -> ObjectStoreAccess:
    address = urlsplit(storage.endpoint)
    return ObjectStoreAccess(
        environment={
            "AWS_ENDPOINT_URL_S3": storage.endpoint,
            "AWS_REGION": storage.region,
            "AWS_DEFAULT_REGION": storage.region,
        },
        secrets={
            name: SecretKey(secret=storage.credentials_secret, key=name) for name in _CREDENTIALS
        },
        peers=(NetworkPeer(cidr=storage.cidr, port=address.port or _PORTS[address.scheme]),),
    )
