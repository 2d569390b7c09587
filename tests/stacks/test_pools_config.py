"""What a stack file may say of model pools."""

from typing import Any

import pytest
from pydantic import ValidationError

from stacks.config.environment import AdapterContract
from stacks.config.existing import ExistingCluster
from stacks.config.nodes import PoolNodes
from stacks.config.pools import (
    ModelPool,
    refuse_shared_model_names,
    refuse_short_drains,
    refuse_what_does_not_fit,
)
from tests.stacks.pool_configs import (
    CPU_IMAGE,
    llm,
    node_groups,
    on_cpu,
    pool,
    slm,
    volume_weights,
    weights,
)

CONTRACT = AdapterContract()


def refuse(values: dict[str, Any], *types: str, contract: AdapterContract = CONTRACT) -> None:
    nodes = node_groups(types or ("g6.xlarge",)).of("slm")
    refuse_what_does_not_fit({"slm": pool(values)}, contract, {"slm": nodes})


def existing(**changes: Any) -> PoolNodes:
    nodes = {"vcpu": 4, "ram_gib": 24, **changes}
    cluster = ExistingCluster.model_validate(
        {
            "kind": "existing",
            "context": "kind",
            "api_server": {"cidr": "10.0.0.1/32"},
            "object_storage": {
                "endpoint": "http://minio:9000",
                "cidr": "10.0.0.2/32",
                "credentials_secret": "s3",
            },
            "nodes": {"slm": nodes},
        }
    )
    return cluster.pool_nodes("slm")


def test_the_pools_of_the_guide_fit_their_machines() -> None:
    groups = node_groups()
    pools = {"slm": pool(slm()), "llm": pool(llm())}
    refuse_what_does_not_fit(pools, CONTRACT, {"slm": groups.of("slm"), "llm": groups.of("llm")})
    refuse_shared_model_names(pools)
    assert pools["slm"].max_model_len == 32768


def test_bf16_is_refused_on_the_guides_machine_with_the_arithmetic_and_what_fits() -> None:
    with pytest.raises(ValueError, match="does not fit the GPU") as refused:
        refuse(slm(weights=weights("bf16")))
    text = str(refused.value)
    assert text.startswith("pools.slm on g6.xlarge")
    for part in ("15.0 GiB", "131,072 bytes", "weights.dtype: fp8", "kv_cache_dtype: fp8"):
        assert part in text
    # The cheapest machine with more memory, first.
    assert "instance type g6e.xlarge" in text
    refuse(slm(weights=weights("bf16"), kv_cache_dtype="fp8"))
    refuse(slm(weights=weights("bf16")), "g6e.xlarge")


def test_too_many_adapters_are_refused_by_the_hosts_ram() -> None:
    many = AdapterContract(max_loras=4, max_cpu_loras=64, max_lora_rank=16)
    with pytest.raises(ValueError, match="does not fit the host's RAM") as refused:
        refuse(slm(), contract=many)
    assert "64 of rank 16" in str(refused.value)
    assert "max_cpu_loras" in str(refused.value)
    refuse(slm(), "g6.2xlarge", contract=many)


def test_every_instance_type_of_a_group_must_hold_the_model() -> None:
    asked = slm(weights=weights("bf16"))
    with pytest.raises(ValueError, match=r"pools\.slm on g6\.xlarge"):
        refuse(asked, "g6.xlarge", "g6.2xlarge")


def test_glm_5_needs_h200s_and_takes_no_adapters() -> None:
    glm = llm(model="glm-5-32b", weights=weights("fp8"), adapters=False)
    fits = node_groups(llm="p5en.48xlarge").of("llm")
    refuse_what_does_not_fit({"llm": pool(glm)}, CONTRACT, {"llm": fits})
    with pytest.raises(ValueError, match=r"p5e\.48xlarge"):
        refuse_what_does_not_fit({"llm": pool(glm)}, CONTRACT, {"llm": node_groups().of("llm")})
    with pytest.raises(ValidationError, match="no q_proj, k_proj and v_proj"):
        pool({**glm, "adapters": True})


@pytest.mark.parametrize("name", ["llama-8b", "glm5", "glm-5-32b", "Llama-3.3-70B-Instruct"])
def test_the_guides_names_mean_a_model(name: str) -> None:
    adapters = "glm" not in name
    assert pool(slm(model=name, adapters=adapters)).profile.parameters > 8e9


def test_a_machine_with_fewer_gpus_than_a_server_needs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 1 GPU\(s\) and tensor_parallel_size is 2"):
        refuse(slm(tensor_parallel_size=2))
    refuse(slm(tensor_parallel_size=2), "g6.12xlarge")


def test_nodes_without_gpu_take_a_cpu_engine_only_and_others_none() -> None:
    cpu = existing()
    refuse_what_does_not_fit({"slm": pool(on_cpu())}, CONTRACT, {"slm": cpu})
    with pytest.raises(ValueError, match="has no GPU: set cpu_engine"):
        refuse_what_does_not_fit({"slm": pool(slm())}, CONTRACT, {"slm": cpu})
    with pytest.raises(ValueError, match="has GPUs: remove cpu_engine"):
        refuse(on_cpu())
    small = on_cpu(resources={"cpu": "1", "memory_gib": 3})
    with pytest.raises(ValueError, match="weights and KV cache"):
        refuse_what_does_not_fit({"slm": pool(small)}, CONTRACT, {"slm": cpu})


def test_gpus_of_a_cluster_that_exists_are_counted_as_it_says() -> None:
    gpus = {"gpus": 1, "gpu": "RTX", "toleration": "nvidia.com/gpu"}
    large, small = existing(vram_gib=48, **gpus), existing(vram_gib=10, **gpus)
    refuse_what_does_not_fit({"slm": pool(slm())}, CONTRACT, {"slm": large})
    with pytest.raises(ValueError, match="does not fit the GPU"):
        refuse_what_does_not_fit({"slm": pool(slm())}, CONTRACT, {"slm": small})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama-9b"}, "no model of the catalogue: use llama-8b"),
        ({"max_model_len": 200_000}, "beyond the 131072 positions of llama-3.1-8b"),
        (
            {"model": "smollm2-135m", "max_model_len": 2048, "tensor_parallel_size": 2},
            "9 attention",
        ),
        ({"replicas": {"min": 3, "max": 2}}, "max 2 is below min 3"),
        ({"quorum": 2}, "quorum 2 is above replicas.min 1"),
        ({"aliases": ["bank-ledger-v1.2"]}, "looks like the served name of a release"),
        ({"lora_modules": [{"name": "a", "path": "/models/a"}]}, "use a source volume"),
        ({"cpu_engine": {"image": CPU_IMAGE}}, "resources is missing"),
        ({"engine": {"extra_args": "--trust-remote-code"}}, "Extra inputs are not permitted"),
        ({"engine": {"tool_call_parser": "x --api-key=y"}}, "should match pattern"),
        ({"served_model_name": "--trust-remote-code"}, "should match pattern"),
        ({"weights": {**weights("fp8"), "revision": "main"}}, "at least 7 characters"),
        ({"weights": {**weights("fp8"), "source": {"kind": "bucket", "uri": "hf://x/y"}}}, "match"),
        ({"tensor_parallel_size": 3}, "Input should be 1, 2, 4 or 8"),
        ({"weights": {**weights("fp8"), "dtype": "fp4"}}, "'bf16', 'fp8' or 'int4'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        pool(slm(**changes))
    assert message in str(refused.value)


def test_a_model_name_belongs_to_one_pool() -> None:
    pools = {"slm": pool(slm()), "llm": pool(llm(aliases=["llama-8b"]))}
    with pytest.raises(ValueError, match="'llama-8b' is a name of both slm and llm"):
        refuse_shared_model_names(pools)
    with pytest.raises(ValueError, match="'slm' is a name of both"):
        refuse_shared_model_names({"slm": pool(slm()), "llm": pool(llm(aliases=["slm"]))})


def test_a_server_outlives_the_longest_answer() -> None:
    pools = {"slm": pool(slm(longest_stream_s=300))}
    refuse_short_drains(pools, 300)
    with pytest.raises(ValueError, match=r"pools\.slm\.longest_stream_s is 300.*600 s"):
        refuse_short_drains(pools, 600)


def test_other_files_are_another_base() -> None:
    ids = {
        pool(values).base_id
        for values in (
            slm(),
            slm(weights=weights("bf16")),
            slm(weights={**weights("fp8"), "revision": "1111111"}),
            llm(),
        )
    }
    assert len(ids) == 4
    # Where the files lie says nothing about what is in them.
    assert pool(slm(weights=volume_weights("fp8"))).base_id in ids


def test_another_quantisation_of_what_is_trained_on_trains_nothing_anew() -> None:
    unquantised = {"kind": "bucket", "uri": "s3://models-prod/original"}
    served = [
        pool(slm(weights={**weights(dtype), "unquantised": unquantised}))
        for dtype in ("fp8", "int4")
    ]
    assert served[0].base_id == served[1].base_id == pool(slm(weights=weights("bf16"))).base_id
    assert served[0].weights.to_train_on.model_dump() == unquantised
    assert pool(slm()).weights.to_train_on.model_dump() == weights("fp8")["source"]


def test_every_option_is_described() -> None:
    def missing(schema: dict[str, Any]) -> list[str]:
        definitions = schema["$defs"] | {"ModelPool": schema}
        return [
            f"{name}.{key}"
            for name, definition in definitions.items()
            for key, value in definition.get("properties", {}).items()
            if "description" not in value and "$ref" not in value and "const" not in value
        ]

    assert missing(ModelPool.model_json_schema()) == []
