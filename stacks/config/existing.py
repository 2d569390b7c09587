"""A cluster that exists already: kind, k3d, on premises, another cloud."""

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from stacks.catalogue.instances import Instance
from stacks.config.base import Config
from stacks.config.network import private_network
from stacks.config.nodes import NodePool, PoolNodes

Label = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class ApiServer(Config):
    """Where pods find the Kubernetes API."""

    cidr: str = Field(description="network of the API server as the policies of the CNI see it")

    _known = field_validator("cidr")(lambda cidr: str(private_network(cidr)))


class ObjectStorage(Config):
    """An S3-compatible store that exists already."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]+(:\d{1,5})?$")] = (
        Field(description="address of its S3 API")
    )
    cidr: str = Field(description="network that it is in, for NetworkPolicies")
    region: str = Field("us-east-1", description="region that requests are signed for")
    credentials_secret: ObjectName = Field(
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in each namespace"
    )

    _known = field_validator("cidr")(lambda cidr: str(private_network(cidr)))


class ExistingNodes(Config):
    """Nodes of a pool in a cluster that exists already."""

    selector: dict[Label, str] = Field({}, description="labels of the nodes; empty for any node")
    gpus: int = Field(0, ge=0, le=16, description="GPUs of a node; 0 runs vLLM on the CPU")
    gpu: str | None = Field(None, description="model of the GPU, such as H100")
    vram_gib: float = Field(0, ge=0, description="memory of one GPU, GiB")
    vcpu: int = Field(ge=1, description="processors of a node")
    ram_gib: int = Field(ge=1, description="memory of a node, GiB")
    toleration: Label | None = Field(
        None, description="key of the NoSchedule taint on the nodes; needed where there are GPUs"
    )

    @model_validator(mode="after")
    def _gpus_are_kept_free(self) -> Self:
        if bool(self.gpus) != bool(self.vram_gib) or bool(self.gpus) != bool(self.gpu):
            raise ValueError("gpus, gpu and vram_gib belong together: give all of them or none")
        if self.gpus and self.toleration is None:
            raise ValueError(
                "toleration is missing: nodes with GPUs need a NoSchedule taint, so that nothing "
                "else fills them; taint them with nvidia.com/gpu and name that key"
            )
        return self


class ExistingCluster(Config):
    """A cluster that exists already: kind, k3d, on premises, another cloud."""

    kind: Literal["existing"]
    context: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="context of the kubeconfig"
    )
    api_server: ApiServer
    object_storage: ObjectStorage
    nodes: dict[NodePool, ExistingNodes] = Field(description="nodes of each pool")

    @property
    def training_price(self) -> Literal["on-demand"] | None:
        """How nodes of training jobs are bought; None without any."""
        return "on-demand" if "training" in self.nodes else None

    def without_nodes(self, pools: Collection[NodePool]) -> Self:
        """The cluster without the nodes of some pools."""
        kept = {pool: nodes for pool, nodes in self.nodes.items() if pool not in pools}
        return self.model_copy(update={"nodes": kept})

    def pool_nodes(self, pool: NodePool) -> PoolNodes:
        """Where the pods of a pool run.

        Raises:
            ValueError: There are no nodes for it.
        """
        if pool not in self.nodes:
            raise ValueError(f"pool {pool} has no nodes: add cluster.nodes.{pool}")
        nodes = self.nodes[pool]
        shape = Instance(
            name=f"a node of {pool}",
            vcpu=nodes.vcpu,
            ram_gib=nodes.ram_gib,
            gpus=nodes.gpus,
            gpu=nodes.gpu,
            product=None,
            vram_gib=nodes.vram_gib,
            efa=0,
            has_blocks=False,
        )
        return PoolNodes(selector=nodes.selector, toleration=nodes.toleration, instances=(shape,))
