"""vLLM's own parser takes the command lines of the pools."""

import json
import subprocess
from typing import Any

import pytest

from benchmarks.processes import python
from stacks.config.environment import AdapterContract
from stacks.engine_command import engine_command, engine_environment
from tests.stacks.pool_configs import llm, on_cpu, pool, slm, volume_weights

# In the environment of vLLM, whose parser it is; the parser asks for no GPU.
_PARSE = """
import dataclasses, json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
commands = json.load(sys.stdin)


def plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


print(json.dumps([vars(parser.parse_args(each)) for each in commands], default=plain))
"""
_PINNED = {"name": "pinned", "path": "/models/a"}
_EVERY_OPTION = {
    "max_num_batched_tokens": 4096,
    "prefix_caching": False,
    "enforce_eager": True,
    "expert_parallel": True,
    "tool_call_parser": "llama3_json",
    "reasoning_parser": "glm45",
}
_POOLS = {
    "slm": slm(),
    "llm": llm(),
    "options": slm(
        weights=volume_weights("fp8"),
        kv_cache_dtype="fp8",
        lora_modules=[_PINNED],
        engine=_EVERY_OPTION,
    ),
    "cpu": on_cpu(),
}


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict[str, Any]]:
    commands = [engine_command(pool(each), AdapterContract(), 8001) for each in _POOLS.values()]
    assert all(each[:2] == ("vllm", "serve") for each in commands)
    done = subprocess.run(
        [python(".venv-vllm"), "-c", _PARSE],
        input=json.dumps([each[2:] for each in commands]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(_POOLS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", _POOLS)
def test_what_is_configured_is_what_vllm_understands(
    parsed: dict[str, dict[str, Any]], name: str
) -> None:
    seen, config = parsed[name], pool(_POOLS[name])
    assert (seen["host"], seen["port"]) == ("127.0.0.1", 8001)
    assert seen["served_model_name"] == [config.served_model_name]
    assert seen["max_model_len"] == config.max_model_len
    assert seen["max_num_seqs"] == config.max_num_seqs
    assert seen["tensor_parallel_size"] == config.tensor_parallel_size
    assert seen["enable_lora"] is True
    assert (seen["max_loras"], seen["max_cpu_loras"], seen["max_lora_rank"]) == (4, 8, 16)
    # Nothing of what makes vLLM dangerous is ever on.
    assert not seen["trust_remote_code"]
    assert not seen["enable_log_requests"]


def test_weights_come_from_where_they_are(parsed: dict[str, dict[str, Any]]) -> None:
    assert parsed["slm"]["model_tag"] == "s3://models-prod/base"
    assert parsed["slm"]["load_format"] == "runai_streamer"
    assert parsed["slm"]["model_loader_extra_config"]["memory_limit"] == 2 * 2**30
    assert parsed["options"]["model_tag"] == "/models"
    assert parsed["options"]["load_format"] == "auto"


def test_every_option_arrives(parsed: dict[str, dict[str, Any]]) -> None:
    seen = parsed["options"]
    assert seen["kv_cache_dtype"] == "fp8"
    assert seen["max_num_batched_tokens"] == 4096
    assert seen["enable_prefix_caching"] is False
    assert seen["enforce_eager"] is True
    assert seen["enable_expert_parallel"] is True
    assert seen["enable_auto_tool_choice"] is True
    assert (seen["tool_call_parser"], seen["reasoning_parser"]) == ("llama3_json", "glm45")
    (module,) = seen["lora_modules"]
    assert (module["name"], module["path"], module["base_model_name"]) == (
        "pinned",
        "/models/a",
        "llama-8b",
    )
    assert parsed["cpu"]["dtype"] == "float32"
    assert parsed["slm"]["kv_cache_dtype"] == "auto"


def test_the_streamer_learns_the_address_of_a_store_of_ones_own() -> None:
    own = {"AWS_ENDPOINT_URL_S3": "http://minio:9000", "AWS_REGION": "us-east-1"}
    variables = engine_environment(pool(slm()), own)
    assert variables["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert variables["AWS_REGION"] == "us-east-1"
    assert "AWS_ENDPOINT_URL" not in engine_environment(pool(slm()), {"AWS_REGION": "eu-west-1"})
    assert "AWS_REGION" not in engine_environment(pool(slm(weights=volume_weights("fp8"))), own)
