"""What an environment stack tells its domain stacks: names and limits, never a secret."""

from typing import Any

from pydantic import ValidationError

from registry.names import PoolName
from stacks.config.base import Config
from stacks.config.domain import DomainConfig
from stacks.config.environment import AdapterContract
from stacks.config.load import ConfigError

OUTPUT = "contract"


class PoolContract(Config):
    """One model pool."""

    served_model_name: str
    """Name of the base model; publish writes it into adapter_config.json."""
    base_id: str
    """Identity of the base weights; another one changes every training digest."""
    base_directory: str
    """Where training jobs find the base model's files."""
    openai_url: str
    """Where evaluation jobs reach the pool."""


class EnvironmentContract(Config):
    """The output `contract` of an environment stack."""

    environment: str
    local: bool
    home: str
    """Directory of a local environment."""
    state_directory: str
    registry_uri: str
    evaluation_key: str
    evaluation_public_key: str
    mlflow_url: str
    edge_url: str
    namespace: str
    gateway: str
    router_service: str
    router_port: int
    pools: dict[PoolName, PoolContract]
    adapter_pools: tuple[PoolName, ...]
    """Pools whose engines load adapters."""
    adapters: AdapterContract


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
            reviewers and approvals that only a local environment may have.
    """
    place = f"pipeline:domain ({domain.name})"
    for pool in domain.pools:
        if pool not in contract.pools:
            raise ConfigError(
                f"{place}: pools.{pool}: environment {contract.environment!r} has no such pool "
                f"(it has {', '.join(contract.pools)})"
            )
    limit = contract.adapters.max_lora_rank
    for pool, training in domain.adapters.items():
        if pool not in contract.adapter_pools:
            raise ConfigError(
                f"{place}: pools.{pool}: environment {contract.environment!r} loads adapters into "
                f"{', '.join(contract.adapter_pools)} only: set it to `base`"
            )
        if training.rank > limit:
            raise ConfigError(
                f"{place}: pools.{pool}.rank: {training.rank} is over the environment's "
                f"max_lora_rank {limit}: lower it, or raise adapters.max_lora_rank of "
                f"{contract.environment!r} (that restarts its engine)"
            )
    experts = domain.gate.experts
    if not contract.local and (experts.names == "anyone" or experts.demo):
        raise ConfigError(f"{place}: gate.experts: `anyone` and `demo` are for local environments")
