"""Model pools: what is served, from which weights, on which machines, how many."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from registry.names import ModelName, PoolName, parse_served_name
from stacks.catalogue.instances import Instance, instances
from stacks.catalogue.models import KvCacheDtype, ModelProfile, WeightsDtype, model
from stacks.config.base import Config
from stacks.config.environment import AdapterContract
from stacks.config.images import ImageRef
from stacks.config.nodes import PoolNodes
from stacks.sizing import (
    GIB,
    Demand,
    LoraSlots,
    divides,
    gpu_fit,
    host_fit,
    pod_memory_gib,
    would_fit,
)

KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")]
S3Folder = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+$")]
CpuQuantity = Annotated[str, StringConstraints(pattern=r"^[1-9]\d*m?$")]
Parser = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]

_MOST_DRAIN_S, _PROPOSED = 3600, 3


class BucketWeights(Config):
    """Streamed from object storage into the GPU at each start."""

    kind: Literal["bucket"]
    uri: S3Folder = Field(
        description="folder of config.json, tokenizer and safetensors files, s3://bucket/folder"
    )


class VolumeWeights(Config):
    """A volume that holds the files already."""

    kind: Literal["volume"]
    claim: KubernetesName = Field(description="PersistentVolumeClaim in namespace agentic-serving")
    directory: AbsolutePath = Field("/models", description="folder of the files in the pod")


class Weights(Config):
    """The files of the base model."""

    dtype: WeightsDtype = Field(
        description="what the files hold: bf16 as published, fp8 or int4 quantised beforehand"
    )
    revision: str = Field(
        min_length=7,
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="commit that the files are from; another one is another base, to train anew",
    )
    source: BucketWeights | VolumeWeights = Field(
        discriminator="kind", description="a bucket, streamed, or a volume that holds the files"
    )
    unquantised: BucketWeights | VolumeWeights | None = Field(
        None,
        discriminator="kind",
        description="the same weights in bf16, to train on; needed where dtype is another",
    )

    @property
    def to_train_on(self) -> BucketWeights | VolumeWeights:
        """Files that training jobs start from."""
        return self.unquantised or self.source


class Replicas(Config):
    """How many model servers."""

    min: int = Field(1, ge=1, le=64, description="also without any load")
    max: int = Field(1, ge=1, le=64, description="under load; needs KEDA when above min")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}: raise max or lower min")
        return self


class Scaling(Config):
    """When servers are added, and when they go."""

    waiting_per_server: int = Field(
        4, ge=1, description="requests that wait in vLLM, for each server, before one is added"
    )
    kv_cache_use: float = Field(
        0.85, gt=0, lt=1, description="mean use of the KV cache above which one is added"
    )
    cooldown_s: int = Field(
        600, ge=60, description="without a request before the last server goes (scale_to_zero)"
    )
    scale_down_after_s: int = Field(
        300, ge=0, le=3600, description="that load must have been low before a server goes"
    )


class PodResources(Config):
    """Of one pod, instead of its GPUs' share of a node."""

    cpu: CpuQuantity = Field(description="request of the vLLM container, such as 4 or 500m")
    memory_gib: float = Field(gt=0, description="of the whole pod, GiB")


class CpuEngine(Config):
    """vLLM without GPU, for tests and demonstrations."""

    image: ImageRef = Field(description="vLLM built for CPUs")
    kv_cache_gib: int = Field(1, ge=1, le=64, description="RAM for the KV cache, GiB")


class EngineOptions(Config):
    """What may be passed on to vLLM beyond the rest of a pool. There is no free text."""

    max_num_batched_tokens: int | None = Field(
        None, ge=256, le=131072, description="tokens of one step; None: vLLM chooses"
    )
    prefix_caching: bool = Field(default=True, description="keep KV blocks of common beginnings")
    enforce_eager: bool = Field(
        default=False, description="no CUDA graphs: slower, starts sooner, less memory"
    )
    expert_parallel: bool = Field(
        default=False, description="spread the experts of a mixture over the GPUs"
    )
    tool_call_parser: Parser | None = Field(None, description="such as llama3_json or glm47")
    reasoning_parser: Parser | None = Field(None, description="such as glm45")


class PinnedAdapter(Config):
    """An adapter that vLLM loads as it starts, and that no release moves."""

    name: ModelName = Field(description="value of `model` in requests")
    path: AbsolutePath = Field(description="folder of the adapter in the pod")


class ModelPool(Config):
    """Servers of one base model."""

    model: str = Field(description="a name of stacks/catalogue/models.py")
    weights: Weights
    served_model_name: ModelName = Field(description="name of the base model on the engine")
    aliases: tuple[ModelName, ...] = Field(
        (), description="further values of `model` in requests for this pool"
    )
    adapters: bool = Field(description="whether releases load adapters into this pool")
    load_candidates: bool = Field(
        default=True, description="also load releases that wait for their evaluation"
    )
    lora_modules: tuple[PinnedAdapter, ...] = Field(
        (), description="adapters on the volume of the weights, loaded at the start for good"
    )
    resources: PodResources | None = Field(
        None, description="CPU and RAM of a pod; default: its GPUs' share of a node"
    )
    cpu_engine: CpuEngine | None = Field(None, description="only on nodes without GPU")
    tensor_parallel_size: Literal[1, 2, 4, 8] = Field(1, description="GPUs of one server")
    kv_cache_dtype: KvCacheDtype = Field("bf16", description="fp8 holds twice the tokens")
    max_model_len: int = Field(32768, ge=256, description="tokens of prompt and answer")
    full_length_requests: int = Field(
        1, ge=1, le=256, description="requests of max_model_len that the KV cache must hold at once"
    )
    max_num_seqs: int = Field(64, ge=1, le=1024, description="requests in one batch")
    gpu_memory_utilization: float = Field(
        0.9, ge=0.5, le=0.97, description="share of the GPU that vLLM takes"
    )
    runtime_overhead_gib: float = Field(
        1.5, ge=0.5, le=16, description="of each GPU beside weights, KV cache and adapters; measure"
    )
    engine: EngineOptions = EngineOptions()
    replicas: Replicas = Replicas()
    scale_to_zero: bool = Field(
        default=False, description="no server without requests; the first one waits for the start"
    )
    scaling: Scaling = Scaling()
    quorum: int = Field(
        1, ge=1, description="servers that must hold a release before its name moves to it"
    )
    surge: bool = Field(
        default=True,
        description="an update starts a new server first; false where no node is left for it",
    )
    start_limit_s: int = Field(
        1800, ge=60, le=7200, description="from the pod's start until vLLM answers"
    )
    longest_stream_s: int = Field(
        600, ge=10, le=_MOST_DRAIN_S, description="a server that goes waits this long for streams"
    )

    @property
    def profile(self) -> ModelProfile:
        """The model's shapes."""
        return model(self.model)

    @property
    def has_lora(self) -> bool:
        """Whether vLLM reserves for adapters."""
        return self.adapters or bool(self.lora_modules)

    @property
    def base_id(self) -> str:
        """Identity of the weights that are trained on: part of every training digest."""
        dtype = "bf16" if self.weights.unquantised else self.weights.dtype
        return f"{self.profile.hf_id}@{self.weights.revision}/{dtype}"

    def without_adapters(self) -> Self:
        """The pool as it is before adapters come: its base model alone."""
        return self.model_copy(update={"adapters": False, "lora_modules": ()})

    @field_validator("model")
    @classmethod
    def _known(cls, name: str) -> str:
        model(name)
        return name

    @field_validator("aliases")
    @classmethod
    def _no_release_names(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        for alias in aliases:
            if parse_served_name(alias) is not None:
                raise ValueError(f"{alias!r} looks like the served name of a release: rename it")
        return aliases

    @model_validator(mode="after")
    def _model_allows(self) -> Self:
        profile = self.profile
        if self.max_model_len > profile.max_positions:
            raise ValueError(
                f"max_model_len {self.max_model_len} is beyond the {profile.max_positions} "
                f"positions of {profile.name}: lower it"
            )
        if self.has_lora and profile.no_adapters is not None:
            raise ValueError(
                f"adapters: {profile.name} takes none: {profile.no_adapters}: "
                "set adapters: false and remove lora_modules"
            )
        uneven = divides(profile, self.tensor_parallel_size)
        if uneven is not None:
            raise ValueError(f"tensor_parallel_size: {uneven}")
        return self

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.quorum > self.replicas.min:
            raise ValueError(
                f"quorum {self.quorum} is above replicas.min {self.replicas.min}: no release "
                "would go live at low load: lower quorum or raise replicas.min"
            )
        if self.cpu_engine is not None and self.tensor_parallel_size > 1:
            raise ValueError("tensor_parallel_size must be 1 with cpu_engine")
        if self.cpu_engine is not None and self.resources is None:
            raise ValueError("resources is missing: with cpu_engine there are no GPUs to share by")
        if self.lora_modules and not isinstance(self.weights.source, VolumeWeights):
            raise ValueError("lora_modules lie on the volume of the weights: use a source volume")
        return self


Pools = dict[PoolName, ModelPool]


def refuse_shared_model_names(pools: Mapping[PoolName, ModelPool]) -> None:
    """Check that each value of `model` means one pool.

    Raises:
        ValueError: Two pools claim it.
    """
    claimed: dict[str, str] = {}
    for pool, config in pools.items():
        for name in {pool, config.served_model_name, *config.aliases}:
            if name in claimed:
                raise ValueError(
                    f"pools: {name!r} is a name of both {claimed[name]} and {pool}: "
                    "remove it from one"
                )
            claimed[name] = pool


def refuse_short_drains(pools: Mapping[PoolName, ModelPool], longest_answer_s: int) -> None:
    """Check that no server is stopped while the router still waits for its answer.

    Raises:
        ValueError: One would be.
    """
    for pool, config in pools.items():
        if config.longest_stream_s < longest_answer_s:
            raise ValueError(
                f"pools.{pool}.longest_stream_s is {config.longest_stream_s}, but an answer may "
                f"take {longest_answer_s} s (router.limits.longest_answer_s): raise it to that"
            )


def refuse_what_does_not_fit(
    pools: Mapping[PoolName, ModelPool],
    contract: AdapterContract,
    nodes: Mapping[PoolName, PoolNodes],
) -> None:
    """Check every pool against the GPUs and the RAM of each machine it may run on.

    Args:
        pools: The pools.
        contract: What adapters reserve.
        nodes: The nodes of each pool.

    Raises:
        ValueError: One does not fit; has the arithmetic and what would.
    """
    for pool, config in pools.items():
        for machine in nodes[pool].instances:
            place = f"pools.{pool} on {machine.name}"
            _refuse_other_kind(place, config, machine)
            asked = demand(config, contract)
            if machine.gpus:
                _refuse_gpu(place, asked, machine)
            _refuse_host(place, config, asked, pod_gib(config, machine))


def pod_gib(config: ModelPool, machine: Instance) -> float:
    """Memory of one pod, GiB: what is configured, or its GPUs' share of the machine."""
    if config.resources is not None:
        return config.resources.memory_gib
    return pod_memory_gib(machine.ram_gib, machine.gpus, config.tensor_parallel_size)


def demand(config: ModelPool, contract: AdapterContract) -> Demand:
    """What a pool asks of one machine."""
    return Demand(
        model=config.profile,
        weights=config.weights.dtype,
        kv_cache=config.kv_cache_dtype,
        tensor_parallel=config.tensor_parallel_size,
        max_model_len=config.max_model_len,
        full_length_requests=config.full_length_requests,
        lora=LoraSlots(
            max_loras=contract.max_loras,
            max_cpu_loras=contract.max_cpu_loras,
            max_lora_rank=contract.max_lora_rank,
        )
        if config.has_lora
        else None,
        gpu_memory_utilization=config.gpu_memory_utilization,
        overhead_gib=config.runtime_overhead_gib,
    )


def _refuse_other_kind(place: str, config: ModelPool, machine: Instance) -> None:
    if not machine.gpus and config.cpu_engine is None:
        raise ValueError(f"{place}: it has no GPU: set cpu_engine, or use nodes with GPUs")
    if machine.gpus and config.cpu_engine is not None:
        raise ValueError(f"{place}: it has GPUs: remove cpu_engine")
    if 0 < machine.gpus < config.tensor_parallel_size:
        raise ValueError(
            f"{place}: it has {machine.gpus} GPU(s) and tensor_parallel_size is "
            f"{config.tensor_parallel_size}: lower it, or use a type with as many GPUs"
        )


def _refuse_gpu(place: str, asked: Demand, machine: Instance) -> None:
    fit = gpu_fit(asked, machine.vram_gib)
    if not fit.fits:
        fixes = [*would_fit(asked, machine.vram_gib, machine.gpus), *_larger(asked)]
        remedy = "; ".join(fixes) or "nothing in the catalogue: take a smaller model"
        raise ValueError(f"{place} does not fit the GPU:\n{fit.arithmetic}\nwould fit: {remedy}")


def _larger(asked: Demand) -> list[str]:
    """Instance types that would do, those with the least GPU memory first."""
    enough = [each for each in instances().values() if each.gpus >= asked.tensor_parallel]
    fitting = [each for each in enough if gpu_fit(asked, each.vram_gib).fits]
    fitting.sort(key=lambda each: (each.gpus * each.vram_gib, each.ram_gib))
    return [f"instance type {each.name}" for each in fitting[:_PROPOSED]]


def _refuse_host(place: str, config: ModelPool, asked: Demand, available_gib: float) -> None:
    fit = host_fit(asked, available_gib, resident_gib=_resident_gib(config))
    if not fit.fits:
        raise ValueError(
            f"{place} does not fit the host's RAM:\n{fit.arithmetic}\nwould fit: lower "
            "adapters.max_cpu_loras or adapters.max_lora_rank, or a machine with more RAM"
        )


def _resident_gib(config: ModelPool) -> float:
    """Weights and KV cache of a server without GPU, which computes in float32."""
    if config.cpu_engine is None:
        return 0
    return 2 * config.profile.weight_bytes("bf16") / GIB + config.cpu_engine.kv_cache_gib
