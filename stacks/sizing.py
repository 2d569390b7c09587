"""Whether a model fits its GPUs and its host, with the arithmetic as text. No I/O.

Nothing here is measured: shapes are exact, what the runtime needs beside weights and KV cache is an
assumption that a stack file may replace. Sizes are bytes; text is in GiB (2^30).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from stacks.catalogue.models import GroupedQuery, KvCacheDtype, ModelProfile, WeightsDtype

GIB: Final = 2**30
_LORA_BYTES: Final = 2
"""vLLM keeps adapters in the model's dtype, bfloat16, whatever the weights are quantised to."""
_STEP: Final = 1024
"""Of the model lengths that are proposed, in tokens."""
_RESERVED: Final = 0.075
"""Share of a machine's RAM that is not there: firmware and kernel (Karpenter's default)."""
_NODE_GIB: Final = 1.5
"""Reserved for the kubelet and its eviction limit, and asked for by the pods of every node."""
_SERVER_GIB: Final = 3.5
"""API server and scheduler of vLLM: 0.3 more than a 135M model on CPU left beside its weights and
its cache (4.7 GiB resident in all)."""
_WORKER_GIB: Final = 2.0
"""The process beside each GPU: CUDA, PyTorch, compiled graphs."""
_KUBELET_M, _KUBELET_EACH_M = 80, 2.5
"""EKS reserves this much of the first four cores, and of each further one."""
_NODE_M: Final = 520
"""Asked for by the pods of every node: CNI, kube-proxy, drivers, exporters."""
SIDECARS_M: Final = 200
"""Envoy and adapter-sync."""
SHARED_MEMORY_GIB: Final = 1.0
"""For each GPU: the memory through which the processes of one server talk."""
LOADER_GIB: Final = 2.0
"""Buffer between storage and GPU while weights are loaded, for each GPU."""
SIDECARS_GIB: Final = 0.75
"""Envoy and adapter-sync."""


@dataclass(frozen=True, kw_only=True)
class LoraSlots:
    """What adapters reserve."""

    max_loras: int
    max_cpu_loras: int
    max_lora_rank: int


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One model server."""

    model: ModelProfile
    weights: WeightsDtype
    kv_cache: KvCacheDtype
    tensor_parallel: int
    max_model_len: int
    """Tokens of prompt and answer."""
    full_length_requests: int
    """How many requests of that length must be held at once; at least 1, or vLLM does not start."""
    lora: LoraSlots | None
    gpu_memory_utilization: float
    overhead_gib: float
    """Of each GPU: activations, CUDA graphs, communication."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """An answer, and how it came about."""

    fits: bool
    arithmetic: str
    spare: int
    """Bytes that are left; below 0 when it does not fit."""


def divides(model: ModelProfile, tensor_parallel: int) -> str | None:
    """Why a model cannot be split over this many GPUs, or None when it can."""
    heads = model.attention_heads
    allowed = [n for n in (1, 2, 4, 8, 16) if _splits(model, n)]
    if _splits(model, tensor_parallel):
        return None
    return (
        f"{model.name} has {heads} attention heads, which {tensor_parallel} GPUs cannot share "
        f"equally: use {', '.join(map(str, allowed))}"
    )


def _splits(model: ModelProfile, gpus: int) -> bool:
    kv_heads = getattr(model.attention, "kv_heads", gpus)
    even = kv_heads % gpus == 0 or gpus % kv_heads == 0
    return model.attention_heads % gpus == 0 and even


def lora_slot_bytes(model: ModelProfile, rank: int, tensor_parallel: int = 1) -> int:
    """What one slot takes on one GPU, whichever modules an adapter has.

    vLLM reserves matrices A and B for every linear layer (vllm/lora/layers). A of a layer that is
    split by its output is whole on every GPU, as is B of one that is split by its input.
    """
    # Embeddings and output layer are reserved for as well, whole on every GPU.
    ends = 2 * (model.vocabulary + model.hidden_size)
    return _LORA_BYTES * rank * (_linear(model, tensor_parallel) + ends)


def adapter_bytes(model: ModelProfile, rank: int) -> int:
    """An adapter of every linear layer, whole, as each worker keeps it in host memory."""
    return _LORA_BYTES * rank * _linear(model, 1)


def _linear(model: ModelProfile, gpus: int) -> int:
    """Columns of A and rows of B, all layers together, for each unit of rank."""
    attention = model.attention
    if not isinstance(attention, GroupedQuery):
        raise TypeError(f"{model.name} takes no adapters: {model.no_adapters}")
    kv = attention.kv_heads * attention.head_dim
    query = model.attention_heads * attention.head_dim
    hidden, inner = model.hidden_size, model.intermediate_size
    # Split by output: q, k, v, gate, up. Split by input: o, down.
    by_output = 5 * hidden + (query + 2 * kv + 2 * inner) // gpus
    by_input = (query + inner) // gpus + 2 * hidden
    return model.layers * (by_output + by_input)


def gpu_fit(demand: Demand, vram_gib: float) -> Fit:
    """Weights, KV cache and adapters of one GPU against its memory."""
    budget = vram_gib * GIB * demand.gpu_memory_utilization
    weights = demand.model.weight_bytes(demand.weights) / demand.tensor_parallel
    slots = _slots(demand)
    per_token = demand.model.kv_bytes_per_token(demand.kv_cache, demand.tensor_parallel)
    tokens = demand.max_model_len * demand.full_length_requests
    left = budget - weights - slots - demand.overhead_gib * GIB
    spare = int(left - tokens * per_token)
    lines = [
        f"{demand.model.name}, {demand.weights} weights, {demand.kv_cache} KV cache, "
        f"{demand.tensor_parallel} GPU(s) of {vram_gib:.1f} GiB; on each:",
        f"  usable: {vram_gib:.1f} x {demand.gpu_memory_utilization:.2f} = {_gib(budget)}",
        f"  - weights: {_gib(demand.model.weight_bytes(demand.weights))} / "
        f"{demand.tensor_parallel} = {_gib(weights)}",
        *_slot_line(demand, slots),
        f"  - runtime (assumed): {demand.overhead_gib:.1f} GiB",
        f"  = room for the KV cache: {_gib(left)} = "
        f"{max(0, int(left // per_token)):,} tokens of {per_token:,} bytes",
        f"  needed: {demand.full_length_requests} x {demand.max_model_len:,} tokens = "
        f"{_gib(tokens * per_token)}",
    ]
    return Fit(fits=spare >= 0, arithmetic="\n".join(lines), spare=spare)


def kv_tokens(demand: Demand, vram_gib: float) -> int:
    """Tokens that the KV cache holds; 0 when not even the weights fit."""
    free = gpu_fit(replace(demand, max_model_len=0), vram_gib).spare
    per_token = demand.model.kv_bytes_per_token(demand.kv_cache, demand.tensor_parallel)
    return max(0, free // per_token)


def _slots(demand: Demand) -> int:
    if demand.lora is None:
        return 0
    rank = demand.lora.max_lora_rank
    return demand.lora.max_loras * lora_slot_bytes(demand.model, rank, demand.tensor_parallel)


def _slot_line(demand: Demand, slots: int) -> Iterator[str]:
    if demand.lora is not None:
        each = slots / demand.lora.max_loras / 2**20
        yield (
            f"  - adapters: {demand.lora.max_loras} slots of rank {demand.lora.max_lora_rank} x "
            f"{each:.0f} MiB = {_gib(slots)}"
        )


def would_fit(demand: Demand, vram_gib: float, gpus: int) -> list[str]:
    """Changes of one value, and fp8 for weights and KV cache together, under which it fits."""
    smaller: dict[WeightsDtype, tuple[WeightsDtype, ...]] = {
        "bf16": ("fp8", "int4"),
        "fp8": ("int4",),
    }
    changes: list[tuple[str, Demand]] = [
        (f"weights.dtype: {dtype}", replace(demand, weights=dtype))
        for dtype in smaller.get(demand.weights, ())
    ]
    if demand.kv_cache == "bf16":
        changes.append(("kv_cache_dtype: fp8", replace(demand, kv_cache="fp8")))
    if demand.weights == demand.kv_cache == "bf16":
        both = replace(demand, weights="fp8", kv_cache="fp8")
        changes.append(("weights.dtype: fp8 with kv_cache_dtype: fp8", both))
    for more in (2, 4, 8):
        if demand.tensor_parallel < more <= gpus and _splits(demand.model, more):
            wider = replace(demand, tensor_parallel=more)
            changes.append((f"tensor_parallel_size: {more}", wider))
    length = kv_tokens(demand, vram_gib) // demand.full_length_requests // _STEP * _STEP
    if 0 < length < demand.max_model_len:
        changes.append((f"max_model_len: {length}", replace(demand, max_model_len=length)))
    return [text for text, changed in changes if gpu_fit(changed, vram_gib).fits]


def pod_cpu_m(vcpu: int, gpus: int, tensor_parallel: int) -> int:
    """Millicores that one pod can ask for: its GPUs' share of what Kubernetes gives out."""
    kubelet = _KUBELET_M + max(0, vcpu - 4) * _KUBELET_EACH_M
    return int((vcpu * 1000 - kubelet - _NODE_M) * tensor_parallel / gpus)


def pod_memory_gib(ram_gib: float, gpus: int, tensor_parallel: int) -> float:
    """GiB that one pod can have: its GPUs' share of what Kubernetes gives out of a machine."""
    return (ram_gib * (1 - _RESERVED) - _NODE_GIB) * tensor_parallel / gpus


def host_fit(demand: Demand, pod_gib: float, *, resident_gib: float = 0) -> Fit:
    """Processes, adapters in RAM and the loader's buffer against the memory of the pod.

    Args:
        demand: The server.
        pod_gib: Memory of the pod.
        resident_gib: Weights and KV cache of a server without GPU, which has them in RAM.
    """
    gpus = 0 if resident_gib else demand.tensor_parallel
    parts = [
        ("sidecars", SIDECARS_GIB * GIB, ""),
        ("server", _SERVER_GIB * GIB, " (assumed)"),
    ]
    if resident_gib:
        parts.append(("weights and KV cache", resident_gib * GIB, ""))
    else:
        parts += [
            ("workers", gpus * _WORKER_GIB * GIB, f" ({gpus} x {_WORKER_GIB:.1f}, assumed)"),
            ("shared memory", gpus * SHARED_MEMORY_GIB * GIB, ""),
            ("loader's buffer", gpus * LOADER_GIB * GIB, ""),
        ]
    if demand.lora is not None:
        slots, rank = demand.lora.max_cpu_loras, demand.lora.max_lora_rank
        each = adapter_bytes(demand.model, rank)
        workers = max(gpus, 1)
        note = f" ({slots} of rank {rank} x {each / 2**20:.0f} MiB x {workers} worker(s))"
        parts.append(("max_cpu_loras", slots * each * workers, note))
    needed = sum(size for _, size, _ in parts)
    lines = [
        f"RAM of one pod of {demand.model.name}: {pod_gib:.1f} GiB",
        *(f"  - {name}: {_gib(size)}{note}" for name, size, note in parts),
        f"  = needed: {_gib(needed)}",
    ]
    spare = int(pod_gib * GIB - needed)
    return Fit(fits=spare >= 0, arithmetic="\n".join(lines), spare=spare)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
