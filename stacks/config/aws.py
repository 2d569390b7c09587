"""The cluster of an environment in an AWS account."""

from collections.abc import Collection
from ipaddress import collapse_addresses
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from stacks.catalogue.regions import zones_of
from stacks.config.base import Config, written_as
from stacks.config.network import ZONES, Network, ipv4_network
from stacks.config.nodes import CapacityBlock, NodeGroups, NodePool, PoolNodes

_SKEW: Final = 3
"""Minor versions that nodes may be behind the control plane."""

# Of EKS with standard support in 2026-11.
KubernetesVersion = Literal["1.34", "1.35", "1.36"]
LogType = Literal["api", "audit", "authenticator", "controllerManager", "scheduler"]
_ALL_LOGS: tuple[LogType, ...] = ("api", "audit", "authenticator", "controllerManager", "scheduler")
Account = Annotated[str, written_as(r"[0-9]{12}", "12 digits in quotes")]
AddonName = Literal[
    "vpc-cni",
    "kube-proxy",
    "eks-pod-identity-agent",
    "coredns",
    "aws-ebs-csi-driver",
    "metrics-server",
]
AddonVersion = Annotated[str, StringConstraints(pattern=r"^v\d+\.\d+\.\d+-eksbuild\.\d+$")]
RoleArn = Annotated[
    str,
    written_as(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+",
        "arn:aws:iam::<account>:role/<name>",
    ),
]


class EksCluster(Config):
    """A cluster in an AWS account, with everything below it."""

    kind: Literal["eks"]
    account: Account = Field(
        description="AWS account; a run with credentials of another is refused"
    )
    region: str = Field(description="AWS region, such as eu-central-1")
    zones: tuple[str, str, str] = Field(description="three availability zones of the region")
    version: KubernetesVersion = Field(description="Kubernetes version of the control plane")
    endpoint: Literal["public", "private"] = Field(
        description="where the Kubernetes API answers; public also answers inside the VPC"
    )
    public_access_cidrs: tuple[str, ...] = Field(
        (), description="networks that reach a public endpoint"
    )
    admins: tuple[RoleArn, ...] = Field(
        min_length=1,
        description="IAM roles that administer it, beside the one that makes it",
    )
    viewers: tuple[RoleArn, ...] = Field(
        (),
        description="IAM roles that read all but Secrets, such as the one that previews pull "
        "requests",
    )
    log_types: tuple[LogType, ...] = Field(
        _ALL_LOGS, description="logs of the control plane that go to CloudWatch"
    )
    addon_versions: dict[AddonName, AddonVersion] = Field(
        {}, description="EKS add-ons; of others AWS takes its default when they are made"
    )
    network: Network
    nodes: NodeGroups

    _known_region = field_validator("region")(lambda region: zones_of(region) and region)

    @field_validator("public_access_cidrs")
    @classmethod
    def _not_everybody(cls, cidrs: tuple[str, ...]) -> tuple[str, ...]:
        networks = [ipv4_network(cidr) for cidr in cidrs]
        # 0.0.0.0/1 and 128.0.0.0/1 together are everybody, too.
        if any(each.prefixlen == 0 for each in collapse_addresses(networks)):
            raise ValueError(
                "these are the whole internet: name the networks of your offices or CI"
            )
        return cidrs

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        roles = (*self.admins, *self.viewers)
        twice = sorted({each for each in roles if roles.count(each) > 1})
        if twice:
            raise ValueError(f"admins, viewers: {twice[0]} is named twice: remove one")
        return self

    @model_validator(mode="after")
    def _zones_of_region(self) -> Self:
        known = zones_of(self.region)
        for zone in self.zones:
            if zone not in known:
                raise ValueError(f"zones: {zone!r} is not in {self.region}: {', '.join(known)}")
        if len(set(self.zones)) != ZONES:
            raise ValueError(f"zones: {', '.join(self.zones)}: three different ones are needed")
        return self

    @model_validator(mode="after")
    def _endpoint_is_reached(self) -> Self:
        if self.endpoint == "public" and not self.public_access_cidrs:
            raise ValueError(
                "public_access_cidrs is empty: name the networks that may reach the public "
                "endpoint, or set endpoint: private"
            )
        if self.endpoint == "private" and self.public_access_cidrs:
            raise ValueError("public_access_cidrs: a private endpoint has none; remove them")
        return self

    @model_validator(mode="after")
    def _nodes_fit(self) -> Self:
        self.network.require_room(self.nodes.most)
        llm = self.nodes.llm
        if llm is None:
            return self
        if llm.zone not in self.zones:
            raise ValueError(
                f"nodes.llm.zone: no subnet is in {llm.zone!r} (zones: {', '.join(self.zones)}); "
                "put the zone of the reservation or block among the zones"
            )
        if isinstance(llm.capacity, CapacityBlock):
            behind = int(self.version[2:]) - int(llm.capacity.version[2:])
            if not 0 <= behind <= _SKEW:
                raise ValueError(
                    f"nodes.llm.capacity.version is {llm.capacity.version}, version is "
                    f"{self.version}: nodes may be at most {_SKEW} minor versions behind, not ahead"
                )
        return self

    @property
    def api_server(self) -> str:
        """Address of the Service `kubernetes`, the first of the service network.

        The VPC CNI compares a policy with the address that a pod calls, before kube-proxy.
        """
        return f"{ipv4_network(self.network.service_cidr)[1]}/32"

    @property
    def training_price(self) -> Literal["spot", "on-demand"] | None:
        """How nodes of training jobs are bought; None without any."""
        return None if self.nodes.training is None else self.nodes.training.price

    def without_nodes(self, pools: Collection[NodePool]) -> Self:
        """The cluster without the node groups of some pools."""
        nodes = self.nodes.model_copy(update=dict.fromkeys(pools))
        return self.model_copy(update={"nodes": nodes})

    def pool_nodes(self, pool: NodePool) -> PoolNodes:
        """Where the pods of a pool run.

        Raises:
            ValueError: There are no nodes for it.
        """
        return self.nodes.of(pool)


def require_production(cluster: EksCluster) -> None:
    """Check what a production environment must have beyond others.

    Raises:
        ValueError: It lacks something; names the key and the fix.
    """
    slm = cluster.nodes.slm
    if cluster.endpoint != "private":
        raise ValueError("cluster.endpoint is public: in production it must be private")
    if cluster.network.nat != "per-zone":
        raise ValueError("cluster.network.nat is single: in production it must be per-zone")
    if set(cluster.log_types) != set(_ALL_LOGS):
        raise ValueError(f"cluster.log_types: production needs {', '.join(_ALL_LOGS)}")
    if slm and slm.price == "spot" and not slm.on_demand_floor:
        raise ValueError(
            "cluster.nodes.slm.on_demand_floor is 0: in production spot nodes need a floor of at "
            "least 1 on-demand node"
        )
