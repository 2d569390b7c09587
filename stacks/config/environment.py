"""Configuration of an environment stack."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from registry.names import ModelName, PoolName
from stacks.config.base import LORA_RANKS, Config, Port
from stacks.config.phases import PHASES, Phase, has_adapters, has_pool, needed_pool

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,19}$")]


class LocalCluster(Config):
    """No cluster: supervised processes on this machine."""

    kind: Literal["local"]


class Ports(Config):
    """Ports on 127.0.0.1."""

    edge: Port = Field(8080, description="Envoy: the address that clients use")
    router: Port = Field(8081, description="the router behind the edge")
    vllm: Port = Field(8082, description="vLLM, reached by the router and adapter-sync only")
    mlflow: Port = Field(5000, description="MLflow UI, tracking and traces")
    adapter_sync: Port = Field(8084, description="status of the adapters on the vLLM host")
    envoy_admin: Port = Field(8085, description="Envoy's admin interface")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        taken: dict[int, str] = {}
        for name, port in self.model_dump().items():
            if port in taken:
                raise ValueError(f"{name} and {taken[port]} are both {port}")
            taken[port] = name
        return self


class AdapterContract(Config):
    """What every domain may rely on; a domain beyond it is refused at preview."""

    max_loras: int = Field(4, ge=1, description="adapters hot in one batch (vLLM --max-loras)")
    max_cpu_loras: int = Field(8, ge=1, description="adapters kept in RAM (--max-cpu-loras)")
    max_lora_rank: int = Field(16, description="highest rank of an adapter (--max-lora-rank)")

    @field_validator("max_lora_rank")
    @classmethod
    def _known_rank(cls, rank: int) -> int:
        if rank not in LORA_RANKS:
            raise ValueError(f"vLLM allows {', '.join(map(str, LORA_RANKS))}")
        return rank

    @model_validator(mode="after")
    def _cpu_holds_gpu(self) -> Self:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras must be at least max_loras ({self.max_loras})")
        return self


class LocalPool(Config):
    """A model pool of the local environment."""

    served_model_name: ModelName = Field(description="name of the base model on the engine")
    aliases: tuple[ModelName, ...] = Field(
        (), description="further values of `model` for this pool"
    )


class LocalEngine(Config):
    """The one vLLM server that serves every pool of a local environment."""

    model: Literal["SmolLM2-135M-Instruct"] = Field(
        "SmolLM2-135M-Instruct", description="base model; this one ships in a package"
    )
    max_model_len: int = Field(2048, ge=256, le=8192, description="tokens of prompt and answer")
    kv_cache_gib: int = Field(1, ge=1, le=64, description="RAM for the KV cache, GiB")
    max_num_seqs: int = Field(16, ge=1, le=256, description="requests in one batch")


class EnvironmentConfig(Config):
    """One environment: pools, edge, router, tracking, registry, ledger."""

    name: EnvironmentName = Field(description="equals the stack's name")
    phase: Phase = Field(4, description=PHASES)
    cluster: LocalCluster
    ports: Ports = Ports()
    adapters: AdapterContract = AdapterContract()
    engine: LocalEngine = LocalEngine()
    pools: dict[PoolName, LocalPool]

    @field_validator("pools")
    @classmethod
    def _distinct_names(cls, pools: dict[PoolName, LocalPool]) -> dict[PoolName, LocalPool]:
        names = [n for pool in pools.values() for n in (pool.served_model_name, *pool.aliases)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: each model name belongs to one pool")
        return pools

    @model_validator(mode="after")
    def _has_what_its_phase_serves(self) -> Self:
        needed = needed_pool(self.phase)
        if needed not in self.pools:
            raise ValueError(f"pools.{needed} is missing: phase {self.phase} serves it")
        return self

    @property
    def served(self) -> Mapping[PoolName, LocalPool]:
        """The pools of this phase."""
        return {name: pool for name, pool in self.pools.items() if has_pool(self.phase, name)}

    @property
    def has_adapters(self) -> bool:
        """Whether releases load adapters in this phase."""
        return has_adapters(self.phase)
