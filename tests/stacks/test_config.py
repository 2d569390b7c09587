"""Bad stack configuration: one line that names the file, the key, the value and what is allowed."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.config.domain import DomainConfig, TrainedDomain
from stacks.config.environment import AdapterContract
from stacks.config.load import (
    ConfigError,
    DomainStack,
    EnvironmentStack,
    StackConfig,
    load,
    parse,
    refuse_shared_names,
)
from stacks.contract import (
    EnvironmentContract,
    LocalPlace,
    PoolContract,
    parse_contract,
    refuse_beyond_contract,
)
from stacks.paths import ROOT
from stacks.release_inputs import desired_release
from tests.stacks.contracts import cluster_place

STACKS = ROOT / "stacks"
FILE = "stacks/Pulumi.local-bank-ledger.yaml"


def _config(stack: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((STACKS / f"Pulumi.{stack}.yaml").read_text())["config"]
    return config


def _trained(stack: StackConfig) -> TrainedDomain:
    assert isinstance(stack, DomainStack)
    trained = stack.domain.trained
    assert trained is not None
    return trained


def _domain(**pool: Any) -> TrainedDomain:
    config = _config("local-bank-ledger")
    config["pipeline:domain"]["pools"]["slm"].update(pool)
    return _trained(parse(config, "local-bank-ledger", FILE))


def _contract(*, local: bool = True, rank: int = 16) -> EnvironmentContract:
    pool = PoolContract(served_model_name="b", base_id="b1", base_model="/b", openai_url="http://x")
    return EnvironmentContract(
        environment="local",
        phase=4,
        place=LocalPlace(home="/h", state_directory="/s") if local else cluster_place(),
        registry_uri="file:///r",
        evaluation_key="/k",
        evaluation_public_key="/p",
        mlflow_url="http://m",
        edge_url="http://e",
        namespace="n",
        gateway="g",
        router_service="r",
        router_port=1,
        pools={"slm": pool, "llm": pool},
        adapter_pools=("slm",),
        adapters=AdapterContract(max_lora_rank=rank),
    )


@pytest.mark.parametrize("stack", ["local", "local-platform-docs", "local-bank-ledger"])
def test_the_shipped_stacks_are_valid(stack: str) -> None:
    assert load(STACKS, stack).name == stack


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for key in parents:
            config = config[key]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("pipeline:domain/colour", "red"), "pipeline:domain.colour: unknown key"),
        (_set("pipeline:colour", "red"), "pipeline:colour: a domain stack has no such key"),
        (_set("pipeline:kind", "zoo"), "pipeline:kind is 'zoo', allowed: environment, domain"),
        (_set("pipeline:environment", {"a": 1}), "pipeline:environment: is {'a': 1}"),
        (_set("pipeline:domain/name", "Bank_Ledger"), "pipeline:domain.name"),
        (_set("pipeline:domain/name", "other"), "is named local-other, not local-bank-ledger"),
        (_set("pipeline:domain/version", "1.0"), "'1.0' is not of the form vX.Y"),
        (_set("pipeline:domain/dataset/digest", "sha256:1"), "pipeline:domain.dataset.digest"),
        (_set("pipeline:domain/pools/slm/rank", 17), "vLLM serves ranks 1, 8, 16"),
        (_set("pipeline:domain/pools/slm", "base"), "so nothing is trained: remove version"),
        (_set("pipeline:domain/gate/not_applicable", {"garak_critical": "no"}), "garak_critical"),
        (_set("pipeline:domain/gate/experts/required", -1), "gate.experts.required"),
        (_set("pipeline:domain/header_aliases", ["bank-ledger"]), "not the domain's own name"),
        (_set("pipeline:domain/header_aliases", ["Bank.UK"]), "pipeline:domain.header_aliases.0"),
        (_set("pipeline:domain/dataset/uri", "train.jsonl"), "uri and heldout_uri to <folder>"),
        (_set("pipeline:domain/dataset/uri", "../x/train.jsonl"), "pipeline:domain.dataset.uri"),
        (_set("pipeline:domain/dataset/uri", "s3://b/../x"), "pipeline:domain.dataset.uri"),
        (_set("pipeline:domain", "text"), "pipeline:domain: must be a mapping (is 'text')"),
        (_set("pipeline:kind", ["domain"]), "pipeline:kind is ['domain'], allowed"),
    ],
)
def test_a_bad_domain_stack_is_named(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    config = copy.deepcopy(_config("local-bank-ledger"))
    change(config)
    with pytest.raises(ConfigError) as failure:
        parse(config, "local-bank-ledger", FILE)
    assert str(failure.value).startswith(FILE)
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("pipeline:environment/ports/router", 8080), "router and edge are both 8080"),
        (_set("pipeline:environment/ports/router", 70000), "ports.router"),
        (_set("pipeline:environment/adapters/max_lora_rank", 17), "vLLM allows 1, 8, 16"),
        (_set("pipeline:environment/adapters/max_cpu_loras", 1), "at least max_loras (4)"),
        (_set("pipeline:environment/name", "prod"), "they must be equal"),
        (_set("pipeline:environment/pools/llm/served_model_name", "llama-8b"), "to one pool"),
    ],
)
def test_a_bad_environment_stack_is_named(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    config = copy.deepcopy(_config("local"))
    change(config)
    with pytest.raises(ConfigError) as failure:
        parse(config, "local", "stacks/Pulumi.local.yaml")
    assert message in str(failure.value)


def test_a_missing_stack_lists_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").write_text("config: {}")
    with pytest.raises(ConfigError, match=r"no stack 'x'.*stacks: local"):
        load(tmp_path, "x")


def test_a_stack_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").write_text("config: [")
    with pytest.raises(ConfigError, match=r"Pulumi\.local\.yaml: not YAML"):
        load(tmp_path, "local")


def test_a_rank_over_the_contract_is_refused_before_anything_is_declared() -> None:
    with pytest.raises(ConfigError, match=r"slm\.rank: 32 is over .* max_lora_rank 16"):
        refuse_beyond_contract(_domain(rank=32), _contract())
    refuse_beyond_contract(_domain(rank=32), _contract(rank=64))


def test_an_adapter_for_a_pool_that_loads_none_is_refused() -> None:
    config = _config("local-bank-ledger")
    pools = config["pipeline:domain"]["pools"]
    pools["llm"] = pools["slm"]
    stack = parse(config, "local-bank-ledger", FILE)
    assert isinstance(stack, DomainStack)
    with pytest.raises(ConfigError, match=r"pools\.llm: .* loads adapters into slm only"):
        refuse_beyond_contract(stack.domain, _contract())


def test_a_misspelt_hyperparameter_is_one_line() -> None:
    config = _config("local-bank-ledger")
    config["pipeline:domain"]["pools"]["slm"]["rnak"] = 8
    with pytest.raises(ConfigError) as failure:
        parse(config, "local-bank-ledger", FILE)
    assert str(failure.value) == f"{FILE}: pipeline:domain.pools.slm.rnak: unknown key"


def test_a_name_that_two_domains_claim_is_refused() -> None:
    config = _config("local-platform-docs")
    config["pipeline:domain"]["header_aliases"] = ["bank"]
    docs = parse(config, "local-platform-docs", FILE)
    bank = parse(_config("local-bank-ledger"), "local-bank-ledger", FILE)
    assert isinstance(docs, DomainStack)
    assert isinstance(bank, DomainStack)
    refuse_shared_names([bank])
    with pytest.raises(ConfigError, match="'bank' is claimed by both local-bank-ledger and local-"):
        refuse_shared_names([bank, docs])


def test_other_held_out_rows_are_another_gate() -> None:
    config = _config("local-bank-ledger")
    config["pipeline:domain"]["dataset"]["heldout_digest"] = "sha256:" + "1" * 64
    before = desired_release(_domain(), _contract())
    after = desired_release(_trained(parse(config, "local-bank-ledger", FILE)), _contract())
    assert (after.gate != before.gate, after.training) == (True, before.training)


def _on_a_cluster(**changes: Any) -> DomainConfig:
    config = copy.deepcopy(_config("local-bank-ledger"))
    domain = config["pipeline:domain"]
    domain["dataset"] |= {
        "uri": "s3://datasets/bank-ledger/train.jsonl",
        "heldout_uri": "s3://datasets/bank-ledger/heldout.jsonl",
        "collector": None,
    }
    domain["gate"] |= {"experts": {"names": ["lead-a", "lead-b"], "required": 2}}
    domain["gate"] |= changes.pop("gate", {})
    domain["dataset"] |= changes.pop("dataset", {})
    stack = parse(config, "local-bank-ledger", FILE)
    assert isinstance(stack, DomainStack)
    return stack.domain


def test_anyone_may_approve_on_local_environments_only() -> None:
    refuse_beyond_contract(_domain(), _contract(local=True))
    refuse_beyond_contract(_on_a_cluster(), _contract(local=False))
    anyone = _on_a_cluster(gate={"experts": {"names": "anyone", "required": 2}})
    with pytest.raises(ConfigError, match="for local environments"):
        refuse_beyond_contract(anyone, _contract(local=False))


def test_data_lies_where_the_jobs_are() -> None:
    with pytest.raises(
        ConfigError, match=r"dataset\.uri: 's3://datasets/bank-ledger/train\.jsonl'"
    ):
        refuse_beyond_contract(_on_a_cluster(), _contract(local=True))
    path = _on_a_cluster(dataset={"heldout_uri": "bank-ledger/heldout.jsonl"})
    with pytest.raises(ConfigError, match=r"dataset\.heldout_uri: .*reads s3://bucket/key"):
        refuse_beyond_contract(path, _contract(local=False))


def test_a_check_that_cannot_run_is_named_before_anything_is_trained() -> None:
    config = copy.deepcopy(_config("local-bank-ledger"))
    del config["pipeline:domain"]["gate"]["not_applicable"]["garak_critical"]
    stack = parse(config, "local-bank-ledger", FILE)
    assert isinstance(stack, DomainStack)
    with pytest.raises(ConfigError, match="this version cannot run garak_critical"):
        refuse_beyond_contract(stack.domain, _contract())


def test_an_environment_that_is_not_up_says_what_to_run() -> None:
    with pytest.raises(ConfigError, match="pipeline up local"):
        parse_contract(None, "local")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", 8),
        ("alpha", 8),
        ("dropout", 0.1),
        ("steps", 1),
        ("seed", 1),
        ("batch_size", 2),
        ("learning_rate", 0.1),
        ("target_modules", ["q_proj"]),
        ("answer_tokens", 3),
    ],
)
def test_every_hyperparameter_is_part_of_the_training_digest(field: str, value: Any) -> None:
    before = desired_release(_domain(), _contract())
    after = desired_release(_domain(**{field: value}), _contract())
    assert after.training != before.training
    assert after.gate == before.gate


def test_places_and_routing_are_not_part_of_any_digest() -> None:
    config = _config("local-bank-ledger")
    dataset = config["pipeline:domain"]["dataset"]
    dataset["uri"], dataset["heldout_uri"] = "other/train.jsonl", "other/heldout.jsonl"
    config["pipeline:domain"]["header_aliases"] = []
    moved = parse(config, "local-bank-ledger", FILE)
    assert isinstance(moved, DomainStack)
    assert desired_release(moved.domain, _contract()) == desired_release(_domain(), _contract())


def test_the_environment_stack_is_one() -> None:
    assert isinstance(load(STACKS, "local"), EnvironmentStack)
