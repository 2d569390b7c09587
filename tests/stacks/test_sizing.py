"""What fits: against figures of others, and as properties over every shape."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stacks.catalogue.instances import instance
from stacks.catalogue.models import MODELS, GroupedQuery, ModelProfile, model
from stacks.sizing import (
    GIB,
    LOADER_GIB,
    Demand,
    LoraSlots,
    adapter_bytes,
    divides,
    gpu_fit,
    host_fit,
    kv_tokens,
    lora_slot_bytes,
    pod_memory_gib,
    would_fit,
)

L4 = instance("g6.xlarge")
PROFILES = sorted({profile.name: profile for profile in MODELS.values()}.values(), key=str)
WITH_ADAPTERS = [each for each in PROFILES if each.no_adapters is None]
# Of Qwen3, which no pool serves: a second family to hold the arithmetic against.
QWEN3 = {
    "8b": (8_190_735_360, 36, 4096, 32, 12_288),
    "4b": (4_022_468_096, 36, 2560, 32, 9728),
}


def qwen3(size: str) -> ModelProfile:
    parameters, layers, hidden, heads, inner = QWEN3[size]
    return replace(
        model("llama-8b"),
        name=f"qwen3-{size}",
        parameters=parameters,
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        intermediate_size=inner,
        vocabulary=151_936,
        tied_embeddings=size == "4b",
    )


def demand(profile: ModelProfile, **changes: object) -> Demand:
    base = Demand(
        model=profile,
        weights="bf16",
        kv_cache="bf16",
        tensor_parallel=1,
        max_model_len=32_768,
        full_length_requests=1,
        lora=None,
        gpu_memory_utilization=0.9,
        overhead_gib=1.5,
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("profile", "weights_gib", "per_token", "room_gib", "tokens", "fp8_tokens"),
    [
        (model("llama-8b"), 15.0, 131_072, 3.8, 31_000, 62_000),
        (qwen3("8b"), 15.3, 147_456, 3.5, 25_000, 51_000),
        (qwen3("4b"), 7.5, 147_456, 11.3, 82_000, 164_000),
    ],
    ids=lambda value: value.name if isinstance(value, ModelProfile) else "",
)
def test_the_published_table_of_an_l4_comes_out_within_its_rounding(
    profile: ModelProfile,
    weights_gib: float,
    per_token: int,
    room_gib: float,
    tokens: int,
    fp8_tokens: int,
) -> None:
    assert profile.weight_bytes("bf16") / GIB == pytest.approx(weights_gib, abs=0.05)
    assert profile.kv_bytes_per_token("bf16") == per_token
    # The table assumes 22.5 GiB; AWS reports a little less for the same card.
    held = kv_tokens(demand(profile), 22.5)
    assert held * per_token / GIB == pytest.approx(room_gib, abs=0.05)
    assert held == pytest.approx(tokens, abs=700)
    assert kv_tokens(demand(profile, kv_cache="fp8"), 22.5) == pytest.approx(fp8_tokens, abs=1000)


def test_fp8_files_are_as_large_as_the_published_ones() -> None:
    # 9.08 GB of RAM is what tinygrad reports for Llama 3 8B with fp8 linear layers.
    assert model("llama-8b").weight_bytes("fp8") / 1e9 == pytest.approx(9.08, abs=0.01)
    # vLLM was reported to take 89 GB on each of 8 GPUs for zai-org/GLM-5-FP8.
    assert 86 < model("glm5").weight_bytes("fp8") / 8 / GIB < 92


@pytest.mark.parametrize(("rank", "mib"), [(8, 40), (16, 80), (32, 160), (64, 320)])
def test_a_lora_slot_of_the_layers_of_an_8b_takes_what_is_published(rank: int, mib: int) -> None:
    assert adapter_bytes(model("llama-8b"), rank) == mib * 2**20


def test_parameters_follow_from_the_shapes() -> None:
    for profile in PROFILES:
        attention = profile.attention
        if not isinstance(attention, GroupedQuery):
            continue
        kv = attention.kv_heads * attention.head_dim
        query = profile.attention_heads * attention.head_dim
        hidden = profile.hidden_size
        layer = hidden * (2 * query + 2 * kv + 3 * profile.intermediate_size + 2)
        assert (
            profile.layers * layer + hidden + profile.unquantised_parameters == profile.parameters
        )


def test_the_loaders_buffer_holds_the_largest_tensor() -> None:
    for profile in PROFILES:
        assert 2 * profile.vocabulary * profile.hidden_size <= LOADER_GIB * GIB


@pytest.mark.parametrize(
    ("weights", "kv_cache", "fits"),
    [
        ("bf16", "bf16", False),
        ("fp8", "bf16", True),
        ("bf16", "fp8", True),
        ("fp8", "fp8", True),
    ],
)
def test_an_8b_with_the_guides_length_fits_an_l4_in_fp8_only(
    weights: str, kv_cache: str, fits: bool
) -> None:
    slots = LoraSlots(max_loras=4, max_cpu_loras=8, max_lora_rank=16)
    asked = demand(model("llama-8b"), weights=weights, kv_cache=kv_cache, lora=slots)
    assert gpu_fit(asked, L4.vram_gib).fits is fits


def test_glm_5_fits_h200s_and_not_h100s() -> None:
    asked = demand(model("glm5"), weights="fp8", tensor_parallel=8)
    assert not gpu_fit(asked, instance("p5.48xlarge").vram_gib).fits
    assert gpu_fit(asked, instance("p5en.48xlarge").vram_gib).fits


def test_latent_attention_is_not_divided_by_tensor_parallelism() -> None:
    glm, llama = model("glm5"), model("Llama-3.3-70B-Instruct")
    assert glm.kv_bytes_per_token("bf16", 8) == glm.kv_bytes_per_token("bf16", 1)
    assert llama.kv_bytes_per_token("bf16", 8) * 8 == llama.kv_bytes_per_token("bf16", 1)
    # Two GPUs share a head: each has a copy.
    assert llama.kv_bytes_per_token("bf16", 16) == llama.kv_bytes_per_token("bf16", 8)


def test_the_arithmetic_names_every_part_and_what_would_fit() -> None:
    slots = LoraSlots(max_loras=4, max_cpu_loras=8, max_lora_rank=16)
    asked = demand(model("llama-8b"), lora=slots)
    text = gpu_fit(asked, L4.vram_gib).arithmetic
    for part in ("22.4 x 0.90", "weights: 15.0 GiB", "4 slots of rank 16", "32,768 tokens"):
        assert part in text
    assert would_fit(asked, L4.vram_gib, 1) == [
        "weights.dtype: fp8",
        "weights.dtype: int4",
        "kv_cache_dtype: fp8",
        "weights.dtype: fp8 with kv_cache_dtype: fp8",
        "max_model_len: 26624",
    ]


def test_heads_must_divide() -> None:
    assert divides(model("llama-8b"), 8) is None
    assert divides(model("SmolLM2-135M-Instruct"), 1) is None
    uneven = divides(model("SmolLM2-135M-Instruct"), 2)
    assert uneven is not None
    assert "9 attention heads" in uneven
    assert uneven.endswith("use 1")


def test_the_guides_machine_holds_its_default_adapters_in_ram_and_not_too_many() -> None:
    pod = pod_memory_gib(L4.ram_gib, L4.gpus, 1)
    slots = LoraSlots(max_loras=4, max_cpu_loras=8, max_lora_rank=16)
    few = demand(model("llama-8b"), weights="fp8", lora=slots)
    many = replace(few, lora=replace(slots, max_cpu_loras=64))
    assert pod < 16
    assert host_fit(few, pod).fits
    refused = host_fit(many, pod)
    assert not refused.fits
    assert "64 of rank 16 x 80 MiB x 1 worker(s)" in refused.arithmetic


profiles = st.sampled_from(PROFILES)
vram = st.floats(4, 180)


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    profile = draw(profiles)
    parallel = draw(st.sampled_from([1, 2, 4, 8]))
    assume(divides(profile, parallel) is None)
    lora = None
    if profile.no_adapters is None and draw(st.booleans()):
        hot = draw(st.integers(1, 32))
        lora = LoraSlots(
            max_loras=hot,
            max_cpu_loras=hot + draw(st.integers(0, 64)),
            max_lora_rank=draw(st.sampled_from([8, 16, 64])),
        )
    return demand(
        profile,
        weights=draw(st.sampled_from(["bf16", "fp8", "int4"])),
        kv_cache=draw(st.sampled_from(["bf16", "fp8"])),
        tensor_parallel=parallel,
        max_model_len=draw(st.integers(256, 131_072)),
        full_length_requests=draw(st.integers(1, 16)),
        lora=lora,
    )


@given(demands(), vram)
def test_it_fits_exactly_when_the_cache_holds_the_tokens(asked: Demand, vram_gib: float) -> None:
    tokens = asked.max_model_len * asked.full_length_requests
    fits = gpu_fit(asked, vram_gib).fits
    held = kv_tokens(asked, vram_gib)
    assert fits is (held >= tokens)
    assert (gpu_fit(asked, vram_gib).spare >= 0) is fits


@given(demands(), vram, st.floats(0.1, 100))
def test_more_memory_never_makes_it_fit_less(asked: Demand, vram_gib: float, more: float) -> None:
    before, after = gpu_fit(asked, vram_gib), gpu_fit(asked, vram_gib + more)
    assert after.spare >= before.spare


@given(demands(), vram)
def test_less_is_asked_by_smaller_types_shorter_requests_and_fewer_adapters(
    asked: Demand, vram_gib: float
) -> None:
    spare = gpu_fit(asked, vram_gib).spare
    for smaller in (
        replace(asked, weights="int4"),
        replace(asked, kv_cache="fp8"),
        replace(asked, max_model_len=256),
        replace(asked, full_length_requests=1),
        replace(asked, lora=None),
    ):
        assert gpu_fit(smaller, vram_gib).spare >= spare


@given(demands(), vram, st.sampled_from([1, 4, 8]))
def test_everything_that_is_proposed_fits(asked: Demand, vram_gib: float, gpus: int) -> None:
    assume(not gpu_fit(asked, vram_gib).fits)
    for text in would_fit(asked, vram_gib, gpus):
        changed = asked
        for change in text.split(" with "):
            key, _, value = change.partition(": ")
            field = {
                "weights.dtype": "weights",
                "kv_cache_dtype": "kv_cache",
                "tensor_parallel_size": "tensor_parallel",
                "max_model_len": "max_model_len",
            }[key]
            changed = replace(changed, **{field: int(value) if value.isdigit() else value})
        assert gpu_fit(changed, vram_gib).fits
        assert changed.tensor_parallel <= max(gpus, asked.tensor_parallel)


@given(st.sampled_from(WITH_ADAPTERS), st.sampled_from([8, 16, 64]), st.sampled_from([1, 2, 4, 8]))
def test_a_slot_is_divided_in_part_only(profile: ModelProfile, rank: int, gpus: int) -> None:
    assume(divides(profile, gpus) is None)
    whole, part = lora_slot_bytes(profile, rank), lora_slot_bytes(profile, rank, gpus)
    assert whole / gpus <= part <= whole
    assert adapter_bytes(profile, rank) < whole
