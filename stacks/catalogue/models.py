"""Models that a pool may serve: shapes, weights, and whether adapters fit their attention.

Sources are named per model. Sizes of weights follow from the shapes: what quantisation leaves in
bfloat16 (embeddings and the output layer) counts as such.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

WeightsDtype = Literal["bf16", "fp8", "int4"]
KvCacheDtype = Literal["bf16", "fp8"]

# int4 in groups of 128 with a bfloat16 scale and a zero point each (AWQ, GPTQ).
_BYTES: Final[Mapping[WeightsDtype, float]] = {"bf16": 2, "fp8": 1, "int4": 0.5 + 2.5 / 128}
_KV_BYTES: Final[Mapping[KvCacheDtype, int]] = {"bf16": 2, "fp8": 1}


@dataclass(frozen=True, kw_only=True)
class GroupedQuery:
    """Attention with fewer key and value heads than query heads; shards by head."""

    kv_heads: int
    head_dim: int

    def bytes_per_token(self, dtype: KvCacheDtype, tensor_parallel: int) -> int:
        """Of one layer on one GPU. Heads are repeated where there are more GPUs than heads."""
        heads = -(-self.kv_heads // tensor_parallel)
        return 2 * heads * self.head_dim * _KV_BYTES[dtype]


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Multi-head latent attention (MLA): one compressed vector a token, whole on every GPU."""

    kv_lora_rank: int
    rope_dim: int
    index_bytes: int
    """Of the index of sparse attention (DSA), whose keys are fp8 with one float32 scale; or 0."""

    def bytes_per_token(self, dtype: KvCacheDtype, tensor_parallel: int) -> int:
        """Of one layer on one GPU: tensor parallelism does not divide it."""
        del tensor_parallel
        latent = (self.kv_lora_rank + self.rope_dim) * _KV_BYTES["bf16"]
        if dtype == "fp8":
            # vLLM's fp8_ds_mla: fp8 latents with four float32 scales, rotary part in bfloat16.
            latent = self.kv_lora_rank + 4 * 4 + self.rope_dim * _KV_BYTES["bf16"]
        return latent + self.index_bytes


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """One base model."""

    name: str
    hf_id: str
    aliases: tuple[str, ...]
    """Further names by which a stack file may mean it."""
    parameters: int
    layers: int
    hidden_size: int
    attention_heads: int
    attention: GroupedQuery | Latent
    intermediate_size: int
    """Of the dense MLP."""
    vocabulary: int
    max_positions: int
    tied_embeddings: bool
    """Whether the output layer shares the embeddings' weights."""
    no_adapters: str | None
    """Why LoRA on q_proj, k_proj, v_proj and o_proj is not possible; None where it is."""
    licence: str
    source: str
    """Where the numbers are from, and what is not verified."""

    @property
    def unquantised_parameters(self) -> int:
        """Embeddings and output layer."""
        matrices = 1 if self.tied_embeddings else 2
        return matrices * self.vocabulary * self.hidden_size

    def weight_bytes(self, dtype: WeightsDtype) -> int:
        """Of all weights together."""
        kept = self.unquantised_parameters
        quantised = (self.parameters - kept) * _BYTES[dtype]
        return round(quantised + kept * _BYTES["bf16"])

    def kv_bytes_per_token(self, dtype: KvCacheDtype, tensor_parallel: int = 1) -> int:
        """Of all layers, on one GPU."""
        return self.layers * self.attention.bytes_per_token(dtype, tensor_parallel)


_PROFILES: Final = (
    ModelProfile(
        name="llama-3.1-8b",
        hf_id="meta-llama/Llama-3.1-8B-Instruct",
        aliases=("llama-8b", "Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-8B-Instruct"),
        parameters=8_030_261_248,
        layers=32,
        hidden_size=4096,
        attention_heads=32,
        attention=GroupedQuery(kv_heads=8, head_dim=128),
        intermediate_size=14336,
        vocabulary=128_256,
        max_positions=131_072,
        tied_embeddings=False,
        no_adapters=None,
        licence="Llama 3.1 Community License",
        source=(
            "config.json of the model, as repeated in oumi-ai/oumi configs/recipes/llama3_1. "
            "The guide's meta-llama/Llama-3.3-8B-Instruct was never published: Llama 3.3 is 70B "
            "only; its name means this model."
        ),
    ),
    ModelProfile(
        name="llama-3.3-70b",
        hf_id="meta-llama/Llama-3.3-70B-Instruct",
        aliases=("Llama-3.3-70B-Instruct",),
        parameters=70_553_706_496,
        layers=80,
        hidden_size=8192,
        attention_heads=64,
        attention=GroupedQuery(kv_heads=8, head_dim=128),
        intermediate_size=28672,
        vocabulary=128_256,
        max_positions=131_072,
        tied_embeddings=False,
        no_adapters=None,
        licence="Llama 3.3 Community License",
        source="config.json of the model, as repeated in oumi-ai/oumi configs/recipes/llama3_3",
    ),
    ModelProfile(
        name="glm-5",
        hf_id="zai-org/GLM-5",
        aliases=("glm5", "glm-5-32b"),
        parameters=753_900_000_000,
        layers=78,
        hidden_size=6144,
        attention_heads=64,
        attention=Latent(kv_lora_rank=512, rope_dim=64, index_bytes=128 + 4),
        intermediate_size=12288,
        vocabulary=154_880,
        max_positions=202_752,
        tied_embeddings=False,
        no_adapters=(
            "its latent attention has no q_proj, k_proj and v_proj "
            "(vLLM: q_a_proj, q_b_proj, kv_a_proj_with_mqa, kv_b_proj)"
        ),
        licence="MIT",
        source=(
            "Shapes: GlmMoeDsaConfig of transformers, whose defaults are zai-org/GLM-5's. "
            "Parameters: 744B (40B active) and the layer for multi-token prediction; the sum of "
            "the published fp8 files, not counted here. Loaded in fp8 it was reported to take "
            "89 GB on each of 8 GPUs (docs.vultr.com, 2026-03). There is no GLM-5 of 32B: the "
            "guide's glm-5-32b means this model."
        ),
    ),
    ModelProfile(
        name="smollm2-135m",
        hf_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        aliases=("SmolLM2-135M-Instruct",),
        parameters=134_515_008,
        layers=30,
        hidden_size=576,
        attention_heads=9,
        attention=GroupedQuery(kv_heads=3, head_dim=64),
        intermediate_size=1536,
        vocabulary=49_152,
        max_positions=8192,
        tied_embeddings=True,
        no_adapters=None,
        licence="Apache-2.0",
        source="config.json of the model; for tests on CPUs",
    ),
)

MODELS: Final[Mapping[str, ModelProfile]] = {
    name: profile
    for profile in _PROFILES
    for name in (profile.name, profile.hf_id, *profile.aliases)
}
"""By every name that a stack file may use."""


def model(name: str) -> ModelProfile:
    """The profile that a name means.

    Raises:
        ValueError: There is none; names those that are near, or all.
    """
    profile = MODELS.get(name)
    if profile is None:
        near = difflib.get_close_matches(name, MODELS) or [each.name for each in _PROFILES]
        raise ValueError(
            f"{name!r} is no model of the catalogue: use {', '.join(near)}, "
            "or add it to stacks/catalogue/models.py"
        )
    return profile
