"""What an environment stands on: a cluster of its own in AWS, or one that exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as kubernetes

from components.object_store import ObjectStoreAccess, credentials_in
from components.pods import POD_IDENTITY, NetworkPeer
from stacks.config.cluster_environment import ClusterEnvironment
from stacks.config.existing import ExistingCluster, ObjectStorage
from stacks.contract import ContextAccess
from stacks.paths import PROJECT
from stacks.programs.cluster import access
from stacks.programs.cluster.aws import Eks, Naming, declare_aws, keep_block_until_empty
from stacks.programs.cluster.context import Cluster

_WORKLOADS: Final = "workloads"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Base:
    """The cluster, before anything of the environment is on it."""

    cluster: Cluster
    place: ExistingCluster | Eks

    @property
    def eks(self) -> Eks | None:
        """None on a cluster that exists."""
        return self.place if isinstance(self.place, Eks) else None

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
    place = config.provisioned
    if isinstance(place, ExistingCluster):
        return Base(cluster=_existing(config, place, tags), place=place)
    naming = Naming(prefix=config.prefix, protected=config.production, tags=tags)
    keep_block_until_empty(place.nodes, tags)
    eks = declare_aws(place, naming)
    cluster = Cluster(
        environment=config.name,
        kubernetes=eks.kubernetes,
        aws=eks.aws,
        images=config.images,
        operators=config.operators.there(),
        api_server=place.api_server,
        object_store=access_in_vpc(place.region, place.network.cidr),
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
        object_store=access_to(cluster.object_storage),
        tags=tags,
    )


def access_in_vpc(region: str, vpc_cidr: str) -> ObjectStoreAccess:
    """How pods on EKS reach S3 and KMS: by interface endpoints inside the VPC."""
    return ObjectStoreAccess(
        # boto3 reads the one, the other SDKs read the other.
        environment={"AWS_REGION": region, "AWS_DEFAULT_REGION": region},
        peers=(NetworkPeer(cidr=vpc_cidr, port=_PORTS["https"]), POD_IDENTITY),
    )


def access_to(store: ObjectStorage) -> ObjectStoreAccess:
    """How pods reach a store that exists already."""
    endpoint = urlsplit(store.endpoint)
    return ObjectStoreAccess(
        environment={
            "AWS_REGION": store.region,
            "AWS_DEFAULT_REGION": store.region,
            "AWS_ENDPOINT_URL_S3": store.endpoint,
            # Not every store knows the checksums that clients send unasked.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        },
        secrets=credentials_in(store.credentials_secret),
        peers=(NetworkPeer(cidr=store.cidr, port=endpoint.port or _PORTS[endpoint.scheme]),),
    )
