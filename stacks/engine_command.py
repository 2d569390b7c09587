"""The command line and environment of vLLM for a model pool. No I/O."""

import json
from collections.abc import Mapping
from typing import Final

from stacks.config.environment import AdapterContract
from stacks.config.pools import BucketWeights, EngineOptions, ModelPool
from stacks.sizing import GIB, LOADER_GIB
from stacks.telemetry import NO_TELEMETRY

LOOPBACK: Final = "127.0.0.1"
_READERS: Final = 16
"""Connections to object storage at once."""


def engine_command(pool: ModelPool, contract: AdapterContract, port: int) -> tuple[str, ...]:
    """Return vLLM's command line; the server listens on loopback only."""
    return (
        "vllm",
        "serve",
        *_weights(pool),
        f"--served-model-name={pool.served_model_name}",
        f"--host={LOOPBACK}",
        f"--port={port}",
        f"--tensor-parallel-size={pool.tensor_parallel_size}",
        f"--max-model-len={pool.max_model_len}",
        f"--max-num-seqs={pool.max_num_seqs}",
        *_memory(pool),
        *_lora(pool, contract),
        *_options(pool.engine),
    )


def engine_environment(pool: ModelPool, storage: Mapping[str, str]) -> dict[str, str]:
    """Return vLLM's environment variables.

    Args:
        pool: The pool.
        storage: Variables by which the pod finds object storage.
    """
    variables: dict[str, str] = dict(NO_TELEMETRY)
    if isinstance(pool.weights.source, BucketWeights):
        variables |= _streamer(storage)
    if pool.adapters:
        # The route that this opens can be reached from inside the pod alone.
        variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if pool.cpu_engine is not None:
        variables["VLLM_CPU_KVCACHE_SPACE"] = str(pool.cpu_engine.kv_cache_gib)
        # By default vLLM leaves one core to the rest of the machine: a pod has its own.
        variables["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
    return variables


def _streamer(storage: Mapping[str, str]) -> dict[str, str]:
    endpoint = storage.get("AWS_ENDPOINT_URL_S3")
    if endpoint is None:
        return dict(storage)
    # The streamer knows the general variable only, and a store of one's own has no bucket hosts.
    return {
        **storage,
        "AWS_ENDPOINT_URL": endpoint,
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _weights(pool: ModelPool) -> tuple[str, ...]:
    source = pool.weights.source
    if not isinstance(source, BucketWeights):
        return (source.directory,)
    loader = {"concurrency": _READERS, "memory_limit": int(LOADER_GIB * GIB)}
    return (
        source.uri,
        "--load-format=runai_streamer",
        f"--model-loader-extra-config={json.dumps(loader)}",
    )


def _memory(pool: ModelPool) -> tuple[str, ...]:
    if pool.cpu_engine is not None:
        # CPUs without bfloat16 instructions emulate it, at an eighth of the speed.
        return ("--dtype=float32", "--enforce-eager")
    cache = {"bf16": "auto", "fp8": "fp8"}[pool.kv_cache_dtype]
    return (
        "--dtype=bfloat16",
        f"--gpu-memory-utilization={pool.gpu_memory_utilization}",
        f"--kv-cache-dtype={cache}",
    )


def _lora(pool: ModelPool, contract: AdapterContract) -> tuple[str, ...]:
    if not pool.has_lora:
        return ()
    pinned = [
        json.dumps(
            {
                "name": each.name,
                "path": each.path,
                "base_model_name": pool.served_model_name,
            }
        )
        for each in pool.lora_modules
    ]
    return (
        "--enable-lora",
        f"--max-loras={contract.max_loras}",
        f"--max-cpu-loras={contract.max_cpu_loras}",
        f"--max-lora-rank={contract.max_lora_rank}",
        *(("--lora-modules", *pinned) if pinned else ()),
    )


def _options(options: EngineOptions) -> list[str]:
    arguments = []
    if options.max_num_batched_tokens is not None:
        arguments.append(f"--max-num-batched-tokens={options.max_num_batched_tokens}")
    if not options.prefix_caching:
        arguments.append("--no-enable-prefix-caching")
    if options.enforce_eager:
        arguments.append("--enforce-eager")
    if options.expert_parallel:
        arguments.append("--enable-expert-parallel")
    if options.tool_call_parser is not None:
        arguments += ["--enable-auto-tool-choice", f"--tool-call-parser={options.tool_call_parser}"]
    if options.reasoning_parser is not None:
        arguments.append(f"--reasoning-parser={options.reasoning_parser}")
    return arguments
