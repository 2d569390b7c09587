"""Configuration of an environment stack on Kubernetes."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from registry.names import PoolName
from stacks.config.aws import EksCluster, require_production
from stacks.config.base import Config
from stacks.config.bifrost import Gateway
from stacks.config.edge import EdgeConfig
from stacks.config.environment import AdapterContract, EnvironmentName
from stacks.config.existing import ExistingCluster
from stacks.config.images import Images
from stacks.config.nodes import NodePool
from stacks.config.operations import OperationsConfig
from stacks.config.phases import PHASES, Phase, has_adapters, has_pool, needed_pool
from stacks.config.pools import (
    BucketWeights,
    ModelPool,
    refuse_shared_model_names,
    refuse_short_drains,
    refuse_what_does_not_fit,
)
from stacks.config.router import RouterOptions, refuse_pools_that_nobody_wakes
from stacks.config.services import ServicesConfig
from stacks.config.storage import StorageConfig
from stacks.operators import Operator

_TAG_KEY = r"^[A-Za-z][A-Za-z0-9 +=._:/@-]{0,127}$"
_REQUIRED_TAGS = ("owner", "cost-center")
_OURS = ("environment", "managed-by", "project")

TagKey = Annotated[str, StringConstraints(pattern=_TAG_KEY)]
TagValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 +=._:/@-]{1,256}$")]
Provision = Literal["install", "present", "off"]


class Operators(Config):
    """What the cluster brings along (`present`), gets here (`install`), or does without (`off`)."""

    gateway_api: Provision = Field("install", description="CRDs of the Gateway API")
    kgateway: Provision = Field(
        "install",
        description="the edge; off: another one, no rate limits, fewer headers removed",
    )
    keda: Provision = Field("install", description="scaling of pools; off: replicas.min")
    prometheus: Provision = Field(
        "install", description="Prometheus operator and Grafana; off: no dashboards, no alerts"
    )
    external_secrets: Provision = Field(
        "install", description="brings secrets of AWS Secrets Manager into the cluster"
    )
    gpu: Provision = Field("install", description="NVIDIA device plugin and DCGM exporter")

    def there(self) -> frozenset[Operator]:
        """Operators whose kinds may be declared."""
        return frozenset(name for name in self._by_name() if self._by_name()[name] != "off")

    def installed(self) -> frozenset[Operator]:
        """Operators that are installed here."""
        return frozenset(name for name, how in self._by_name().items() if how == "install")

    def _by_name(self) -> Mapping[Operator, Provision]:
        return {
            "gateway-api": self.gateway_api,
            "kgateway": self.kgateway,
            "keda": self.keda,
            "prometheus": self.prometheus,
            "external-secrets": self.external_secrets,
            "gpu": self.gpu,
        }


class ClusterEnvironment(Config):
    """One environment on Kubernetes: cluster, storage, pools, edge, router, tracking, billing."""

    name: EnvironmentName = Field(description="equals the stack's name")
    phase: Phase = Field(4, description=PHASES)
    production: bool = Field(
        description="refuses what production must not do: public API endpoints, one NAT gateway, "
        "deletable databases, charts without digest"
    )
    prefix: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,14}[a-z0-9]$")] = Field(
        description="names of everything in the account begin with it; one environment each"
    )
    cluster: Annotated[EksCluster | ExistingCluster, Field(discriminator="kind")]
    tags: dict[TagKey, TagValue] = Field(
        default_factory=dict, description="on everything in the account; owner and cost-center"
    )
    images: Images
    operators: Operators = Operators()
    adapters: AdapterContract = AdapterContract()
    pools: dict[PoolName, ModelPool] = Field(min_length=1)
    storage: StorageConfig
    services: ServicesConfig
    edge: EdgeConfig
    gateway: Gateway
    router: RouterOptions = RouterOptions()
    operations: OperationsConfig = OperationsConfig()

    @field_validator("tags")
    @classmethod
    def _ours_are_ours(cls, tags: dict[str, str]) -> dict[str, str]:
        for key in tags:
            if key.lower() in _OURS or key.lower().startswith("aws:"):
                raise ValueError(f"{key!r} is set by this program or by AWS: remove it")
        return tags

    @model_validator(mode="after")
    def _has_what_its_phase_serves(self) -> Self:
        needed = needed_pool(self.phase)
        if needed not in self.pools:
            raise ValueError(f"pools.{needed} is missing: phase {self.phase} serves it")
        refuse_shared_model_names(self.pools)
        return self

    @model_validator(mode="after")
    def _models_fit(self) -> Self:
        nodes = {pool: self.cluster.pool_nodes(pool) for pool in self.pools}
        refuse_what_does_not_fit(self.pools, self.adapters, nodes)
        refuse_short_drains(self.pools, self.router.limits.longest_answer_s)
        refuse_pools_that_nobody_wakes(self.pools, self.router.limits)
        return self

    @model_validator(mode="after")
    def _operators_match(self) -> Self:
        for pool, config in self.pools.items():
            scales = config.scale_to_zero or config.replicas.max > config.replicas.min
            if scales and self.operators.keda == "off":
                raise ValueError(
                    f"pools.{pool}: replicas.max above min, or scale_to_zero, needs KEDA, and "
                    "operators.keda is off: set it to install or present"
                )
        try:
            self.edge.check_operators(self.operators.there())
        except ValueError as error:
            raise ValueError(f"edge.{error}") from error
        return self

    @model_validator(mode="after")
    def _place_allows(self) -> Self:
        wanted = "buckets" if isinstance(self.cluster, EksCluster) else "existing"
        if self.storage.kind != wanted:
            raise ValueError(
                f"storage.kind is {self.storage.kind} and cluster.kind is {self.cluster.kind}: "
                f"set storage.kind to {wanted}"
            )
        if isinstance(self.cluster, EksCluster):
            missing = [key for key in _REQUIRED_TAGS if key not in self.tags]
            if missing:
                raise ValueError(f"tags.{missing[0]} is missing: every resource is tagged with it")
            return self
        if self.services.managed:
            raise ValueError(
                f"services.{self.services.managed[0]}: only an AWS account has it, and "
                "cluster.kind is existing: use what the cluster has"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_readable(self) -> Self:
        """Roles of pods read the models bucket of their environment, and no other."""
        if not isinstance(self.cluster, EksCluster):
            return self
        bucket = f"s3://{self.prefix}-models-{self.cluster.account}/"
        for pool, config in self.pools.items():
            for source in (config.weights.source, config.weights.unquantised):
                if isinstance(source, BucketWeights) and not source.uri.startswith(bucket):
                    raise ValueError(
                        f"pools.{pool}.weights: {source.uri} is not in the environment's bucket of "
                        f"models, which alone its pods may read: put it below {bucket}"
                    )
        return self

    @model_validator(mode="after")
    def _production(self) -> Self:
        if not self.production:
            return self
        if isinstance(self.cluster, EksCluster):
            require_production(self.cluster)
        if self.edge.tls.kind == "none":
            raise ValueError("edge.tls.kind is none: production needs a certificate")
        for pool, config in self.pools.items():
            if config.adapters and config.load_candidates:
                raise ValueError(
                    f"pools.{pool}.load_candidates: in production no version that waits for its "
                    "evaluation is loaded beside releases: set it to false"
                )
        return self

    @property
    def has_adapters(self) -> bool:
        """Whether releases load adapters in this phase."""
        return has_adapters(self.phase)

    @property
    def provisioned(self) -> EksCluster | ExistingCluster:
        """The cluster with the nodes of this phase only."""
        unused: set[NodePool] = set()
        if not has_pool(self.phase, "slm"):
            unused.add("slm")
        if not self.has_adapters:
            unused.add("training")
        return self.cluster.without_nodes(unused)

    @property
    def served(self) -> Mapping[PoolName, ModelPool]:
        """The pools of this phase, as they are in it: before phase 4 none takes adapters."""
        return {
            pool: config if self.has_adapters else config.without_adapters()
            for pool, config in self.pools.items()
            if has_pool(self.phase, pool)
        }

    @property
    def adapter_pools(self) -> tuple[PoolName, ...]:
        """Pools whose engines load adapters in this phase."""
        return tuple(pool for pool, config in self.served.items() if config.adapters)


def refuse_shared_prefixes(environments: Iterable[ClusterEnvironment]) -> None:
    """Check that no two environments of one account give the same names, or patterns of names.

    `pipeline-*` is also all of `pipeline-prod-…`: whoever may read the passwords of the databases
    of the one could read those of the other.

    Raises:
        ValueError: Two would.
    """
    claimed: dict[tuple[str, str], str] = {}
    for environment in environments:
        if not isinstance(environment.cluster, EksCluster):
            continue
        account, prefix = environment.cluster.account, environment.prefix
        for (other_account, other), name in claimed.items():
            alike = f"{prefix}-".startswith(f"{other}-") or f"{other}-".startswith(f"{prefix}-")
            if account == other_account and alike:
                raise ValueError(
                    f"prefix: {prefix!r} of {environment.name} and {other!r} of {name} are the "
                    f"same or begin alike, in account {account}: change one before its first `up`"
                )
        claimed[account, prefix] = environment.name
