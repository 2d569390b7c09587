"""Model pools for tests: those of the guide, as a stack file has them."""

from typing import Any

from stacks.config.nodes import NodeGroups
from stacks.config.pools import ModelPool

REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
CPU_IMAGE = "registry.example.com/vllm-cpu@sha256:" + "0c" * 32


def slm(**changes: Any) -> dict[str, Any]:
    """8B on L4."""
    return {
        "model": "llama-8b",
        "weights": weights("fp8"),
        "served_model_name": "llama-8b",
        "adapters": True,
        **changes,
    }


def llm(**changes: Any) -> dict[str, Any]:
    """70B on H100."""
    return {
        "model": "Llama-3.3-70B-Instruct",
        "weights": weights("bf16"),
        "served_model_name": "Llama-3.3-70B-Instruct",
        "aliases": ["glm5", "glm-5-32b"],
        "adapters": True,
        "tensor_parallel_size": 8,
        "surge": False,
        **changes,
    }


def weights(dtype: str) -> dict[str, Any]:
    source = {"kind": "bucket", "uri": "s3://models-prod/base"}
    return {"dtype": dtype, "revision": REVISION, "source": source}


def volume_weights(dtype: str) -> dict[str, Any]:
    source = {"kind": "volume", "claim": "weights"}
    return {"dtype": dtype, "revision": REVISION, "source": source}


def on_cpu(**changes: Any) -> dict[str, Any]:
    """The smallest model, without GPU."""
    return {
        **slm(),
        "model": "SmolLM2-135M-Instruct",
        "weights": volume_weights("bf16"),
        "max_model_len": 2048,
        "cpu_engine": {"image": CPU_IMAGE},
        "resources": {"cpu": "1", "memory_gib": 7},
        **changes,
    }


def pool(values: dict[str, Any]) -> ModelPool:
    return ModelPool.model_validate(values)


def node_groups(slm: tuple[str, ...] = ("g6.xlarge",), llm: str = "p5.48xlarge") -> NodeGroups:
    capacity = {"kind": "on-demand"}
    return NodeGroups.model_validate(
        {
            "slm": {"instance_types": slm},
            "llm": {"instance_type": llm, "zone": "eu-central-1a", "capacity": capacity},
        }
    )
