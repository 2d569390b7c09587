"""What an environment stack tells its domain stacks: names and limits, never a secret.

The engine leaves None out of what another stack reads: what may be None may be missing.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from registry.names import PoolName
from stacks.config.base import Config
from stacks.config.domain import DomainConfig, TrainedDomain
from stacks.config.environment import AdapterContract
from stacks.config.images import ImageRef
from stacks.config.load import ConfigError
from stacks.config.phases import Phase, has_adapters

OUTPUT = "contract"


class PoolContract(Config):
    """One model pool."""

    served_model_name: str
    """Name of the base model; publish writes it into adapter_config.json."""
    base_id: str
    """Identity of the base weights; another one changes every training digest."""
    base_model: str
    """Where training jobs find the base model's files: a directory, or `s3://bucket/prefix`."""
    openai_url: str
    """Where evaluation jobs reach the pool."""


class LocalPlace(Config):
    """This machine."""

    kind: Literal["local"] = "local"
    home: str
    """Directory of the environment."""
    state_directory: str
    """Directory of everything local; data paths are relative to it."""


class ContextAccess(Config):
    """A cluster that the kubeconfig of whoever runs `pulumi` knows."""

    kind: Literal["existing"] = "existing"
    context: str


class EksAccess(Config):
    """A cluster in AWS; whoever runs `pulumi` gets a token with their own identity."""

    kind: Literal["eks"] = "eks"
    account: str
    region: str
    cluster: str
    endpoint: str
    certificate_authority: str
    """Base64 of the PEM, as EKS gives it."""


class AwsPlace(Config):
    """What the roles of a domain's jobs are made of."""

    account: str
    region: str
    prefix: str
    """Names of everything in the account begin with it."""
    cluster: str
    storage_key: str
    """ARN of the KMS key that objects are encrypted with."""
    signing_key: str
    """ARN of the KMS key that verdicts are signed with."""
    tags: dict[str, str]


class ObjectStorePlace(Config):
    """How pods reach object storage."""

    environment: dict[str, str]
    secret: str | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; None where a role gives them."""
    networks: dict[str, int]
    """Networks in CIDR form and the port there, for NetworkPolicies."""


class TrainingNodes(Config):
    """Nodes of training jobs."""

    labels: dict[str, str]
    gpus: int
    """Of one node; 0 trains on the CPU."""
    vcpu: int
    ram_gib: int
    price: Literal["spot", "on-demand"]
    """How they are bought: what the GPU time of a run is priced by."""


class KubernetesPlace(Config):
    """A cluster."""

    kind: Literal["kubernetes"] = "kubernetes"
    access: Annotated[ContextAccess | EksAccess, Field(discriminator="kind")]
    training_namespace: str
    operations_namespace: str
    """Of MLflow."""
    infra_image: ImageRef
    train_image: ImageRef
    object_store: ObjectStorePlace
    requests_per_second: int | None = None
    """Rate limit of a domain at the edge; None where the edge cannot limit."""
    burst: int | None = None
    training: TrainingNodes | None = None
    """None: no domain can be trained here."""
    mlflow_secret: str
    """Secret in the namespace of MLflow with the login of its administrator."""
    evaluation_secret: str | None = None
    """Secret in the training namespace with the private key of verdicts; None where KMS signs."""
    evaluation_public_key: str
    """PEM, which verdicts are verified with."""
    aws: AwsPlace | None = None


class EnvironmentContract(Config):
    """The output `contract` of an environment stack."""

    environment: str
    phase: Phase
    place: Annotated[LocalPlace | KubernetesPlace, Field(discriminator="kind")]
    registry_uri: str
    evaluation_key: str
    """What signs verdicts: a key file, or `awskms:<ARN>`."""
    evaluation_public_key: str
    """Path of the PEM file, as the jobs of this environment find it."""
    mlflow_url: str
    edge_url: str
    namespace: str
    gateway: str | None = None
    """None where there is no Gateway: domains declare no routes."""
    router_service: str
    router_port: int
    pools: dict[PoolName, PoolContract]
    adapter_pools: tuple[PoolName, ...]
    """Pools whose engines load adapters; none before phase 4."""
    adapters: AdapterContract

    @property
    def verifying_key(self) -> Path | bytes:
        """What whoever runs `pulumi` verifies verdicts with: a PEM file, or its content."""
        if isinstance(self.place, KubernetesPlace):
            return self.place.evaluation_public_key.encode()
        return Path(self.evaluation_public_key)

    @property
    def local(self) -> LocalPlace | None:
        """The place of a local environment; None on a cluster."""
        return self.place if isinstance(self.place, LocalPlace) else None

    @property
    def kubernetes(self) -> KubernetesPlace | None:
        """The place of an environment on a cluster; None of a local one."""
        return self.place if isinstance(self.place, KubernetesPlace) else None


def parse_contract(value: Any, environment: str) -> EnvironmentContract:
    """Validate the output of an environment stack.

    Raises:
        ConfigError: There is none, or another version of the project wrote it.
    """
    if value is None:
        raise ConfigError(
            f"the environment stack {environment!r} is not up: "
            f"run `pipeline up {environment}` first"
        )
    try:
        return EnvironmentContract.model_validate(value)
    except ValidationError as error:
        raise ConfigError(
            f"the environment stack {environment!r} was brought up by another version of the "
            f"project ({error.error_count()} fields differ): run `pipeline up {environment}`"
        ) from error


def refuse_beyond_contract(domain: DomainConfig, contract: EnvironmentContract) -> None:
    """Check that the environment can serve what the domain wants.

    Raises:
        ConfigError: A pool that does not exist or takes no adapters, a rank over the contract, or
            data, reviewers and approvals that only another kind of environment may have.
    """
    place = f"pipeline:domain ({domain.name})"
    for pool in domain.pools:
        if pool not in contract.pools:
            raise ConfigError(
                f"{place}: pools.{pool}: environment {contract.environment!r} has no such pool "
                f"(it has {', '.join(contract.pools)})"
            )
    if (trained := domain.trained) is not None:
        _refuse_adapters(trained, contract, place)
        _refuse_foreign_places(trained, contract, place)
        _refuse_gate(trained, contract, place)


def _refuse_adapters(domain: TrainedDomain, contract: EnvironmentContract, place: str) -> None:
    limit = contract.adapters.max_lora_rank
    for pool, training in domain.adapters.items():
        if pool not in contract.adapter_pools:
            raise ConfigError(f"{place}: pools.{pool}: {_no_adapters(contract)}")
        if training.rank > limit:
            raise ConfigError(
                f"{place}: pools.{pool}.rank: {training.rank} is over the environment's "
                f"max_lora_rank {limit}: lower it, or raise adapters.max_lora_rank of "
                f"{contract.environment!r} (that restarts its engine)"
            )


def _no_adapters(contract: EnvironmentContract) -> str:
    """What is wrong with an adapter in a pool that takes none, and what to do."""
    environment = f"environment {contract.environment!r}"
    if contract.adapter_pools:
        pools = ", ".join(contract.adapter_pools)
        return f"{environment} loads adapters into {pools} only: set it to `base`"
    fix = "set every pool to `base` and remove version, dataset and gate"
    if has_adapters(contract.phase):
        return f"{environment} has no pool that takes adapters: {fix}"
    return (
        f"{environment} is at phase {contract.phase}, which has no adapters: {fix}, "
        "or raise its phase to 4"
    )


def _refuse_gate(domain: TrainedDomain, contract: EnvironmentContract, place: str) -> None:
    if contract.local and domain.gate.cannot_run:
        raise ConfigError(
            f"{place}: gate.not_applicable: this version cannot run "
            f"{', '.join(domain.gate.cannot_run)}: say there why each does not apply, or no "
            "release will pass"
        )
    experts = domain.gate.experts
    if not contract.local and (experts.names == "anyone" or experts.demo):
        raise ConfigError(f"{place}: gate.experts: `anyone` and `demo` are for local environments")


def _refuse_foreign_places(
    domain: TrainedDomain, contract: EnvironmentContract, place: str
) -> None:
    """Data lies where the jobs are."""
    for key in ("uri", "heldout_uri"):
        uri: str = getattr(domain.dataset, key)
        if uri.startswith("s3://") and contract.local:
            raise ConfigError(
                f"{place}: dataset.{key}: {uri!r}: a local environment reads a path below its "
                "state directory"
            )
        if not uri.startswith("s3://") and not contract.local:
            raise ConfigError(
                f"{place}: dataset.{key}: {uri!r}: environment {contract.environment!r} is on a "
                "cluster, which reads s3://bucket/key"
            )
    if domain.dataset.collector is not None and not contract.local:
        raise ConfigError(
            f"{place}: dataset.collector: collectors are examples for local environments: remove it"
        )
