"""The phases of the guide's roadmap: what is declared in each, and what a next one changes.

The environment is the shipped stack of staging, with digests of images made up.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from serving.adapter_sync.config import AdapterSyncConfig
from serving.router.config import RouterConfig
from serving.router.tenancy import TenancyRecord
from stacks.config.domain import DomainConfig
from stacks.config.load import (
    ClusterStack,
    ConfigError,
    DomainStack,
    EnvironmentStack,
    StackConfig,
    parse,
)
from stacks.config.phases import Phase
from stacks.contract import EnvironmentContract, parse_contract, refuse_beyond_contract
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT, StateDirectory
from stacks.programs.cluster import environment
from stacks.programs.domain_place import declare_place
from substrates.local.substrate import LocalSubstrate
from tests.components.declared import Declared, Program, declare

STAGING = "staging"
PHASES: tuple[Phase, ...] = (1, 2, 3, 4)
_SECRET = json.dumps({"password": "a1" * 16})
_ANSWERS = {
    "aws:secretsmanager/getSecret:getSecret": lambda asked: {"name": asked["name"], "arn": "arn"},
    "aws:secretsmanager/getSecretVersion:getSecretVersion": lambda asked: {
        "secretId": asked["secretId"],
        "secretString": _SECRET,
    },
}
BASE_ONLY = {"name": "stock-order", "customer": "customer-C", "pools": {"llm": "base"}}

Key = tuple[str, str]
"""Type and name."""


def _config(stack: str) -> dict[str, Any]:
    text = (ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text()
    config: dict[str, Any] = yaml.safe_load(text.replace("0" * 64, "0a" * 32))["config"]
    return config


def _environment(stack: str, phase: Phase, **changes: Any) -> StackConfig:
    config = _config(stack)
    config["pipeline:environment"] |= {"phase": phase, **changes}
    return parse(config, stack, f"stacks/Pulumi.{stack}.yaml")


@cache
def _ran(phase: Phase) -> tuple[Program, EnvironmentContract, str]:
    """What a phase declares, what it tells its domains, and what it warns of."""
    stack = _environment(STAGING, phase)
    assert isinstance(stack, ClusterStack)
    contracts: list[Any] = []
    warnings: list[str] = []

    def build() -> None:
        with patch("pulumi.export") as export, patch("pulumi.log.warn") as warn:
            environment.run(stack)
        warnings.extend(str(call.args[0]) for call in warn.call_args_list)
        exported = dict(call.args for call in export.call_args_list)
        exported["contract"].apply(contracts.append)

    program = declare(build, _ANSWERS, stack=STAGING)
    return program, parse_contract(contracts[0], STAGING), "\n".join(warnings)


def _declared(phase: Phase) -> tuple[Program, EnvironmentContract]:
    return _ran(phase)[:2]


def _graph(phase: Phase) -> dict[Key, list[Declared]]:
    """Resources by type and name; below two parents there may be two."""
    found: dict[Key, list[Declared]] = {}
    for each in _declared(phase)[0].resources:
        found.setdefault((each.type, each.name), []).append(each)
    return found


def _one(phase: Phase, type_: str, name: str) -> Mapping[str, Any]:
    return _declared(phase)[0].one(type_, name).inputs


def _new(before: Phase, after: Phase) -> set[Key]:
    gone = _graph(before).keys() - _graph(after).keys()
    assert not gone, f"phase {after} takes away what phase {before} has"
    return set(_graph(after).keys() - _graph(before).keys())


def _changed(before: Phase, after: Phase) -> set[Key]:
    old, new = _graph(before), _graph(after)
    return {key for key in old.keys() & new.keys() if _inputs(old[key]) != _inputs(new[key])}


def _inputs(resources: list[Declared]) -> dict[str, Mapping[str, Any]]:
    by_parent = {each.parent: each.inputs for each in resources}
    assert len(by_parent) == len(resources)
    return by_parent


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, as paths; of lists of another length, the list's."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}.{index}")
    elif old != new:
        yield path.removeprefix(".")


def _engine(phase: Phase, pool: str) -> Mapping[str, Any]:
    deployment = _one(phase, "kubernetes:apps/v1:Deployment", f"{STAGING}-pool-{pool}")
    containers = deployment["spec"]["template"]["spec"]["containers"]
    (engine,) = (each for each in containers if each["name"] == "vllm")
    return dict(engine)


def _pool_names(phase: Phase) -> set[str]:
    prefix = f"{STAGING}-pool-"
    return {
        name.removeprefix(prefix)
        for type_, name in _graph(phase)
        if type_ == "kubernetes:apps/v1:Deployment" and name.startswith(prefix)
    }


def _node_groups(phase: Phase) -> set[str]:
    return {name for type_, name in _graph(phase) if type_ == "aws:eks/nodeGroup:NodeGroup"}


@pytest.mark.parametrize(
    ("phase", "pools", "nodes"),
    [
        (1, {"llm"}, {"system", "llm"}),
        (2, {"llm"}, {"system", "llm"}),
        (3, {"llm", "slm"}, {"system", "llm", "slm"}),
        (4, {"llm", "slm"}, {"system", "llm", "slm", "training"}),
    ],
)
def test_a_phase_has_the_pools_and_nodes_that_it_uses(
    phase: Phase, pools: set[str], nodes: set[str]
) -> None:
    assert _pool_names(phase) == pools
    assert _node_groups(phase) == {f"nodes-{name}" for name in nodes}
    router = _one(phase, "kubernetes:core/v1:ConfigMap", f"{STAGING}-router")
    config = RouterConfig.model_validate_json(router["data"]["router.json"])
    assert set(config.pools) == pools
    _, contract = _declared(phase)
    assert (contract.phase, set(contract.pools)) == (phase, pools)


@pytest.mark.parametrize("phase", PHASES)
def test_only_phase_4_has_adapters_whatever_the_pools_say(phase: Phase) -> None:
    _, contract = _declared(phase)
    place = contract.kubernetes
    assert place is not None
    has_adapters = phase == 4
    assert set(contract.adapter_pools) == ({"slm", "llm"} if has_adapters else set())
    assert (place.training is not None) == has_adapters
    for pool in _pool_names(phase):
        engine = _engine(phase, pool)
        assert any("lora" in argument for argument in engine["command"]) == has_adapters
        variables = {each["name"] for each in engine["env"]}
        assert ("VLLM_ALLOW_RUNTIME_LORA_UPDATING" in variables) == has_adapters
    jobs = {name for _, name in _graph(phase) if name.startswith(f"{STAGING}-job-")}
    assert bool(jobs) == has_adapters


def test_phase_2_is_phase_1_until_there_is_retrieval() -> None:
    assert _graph(1).keys() == _graph(2).keys()
    assert not _changed(1, 2)
    said = {
        phase for phase in PHASES if "retrieval, which is not in this version" in _ran(phase)[2]
    }
    assert said == {2}


def test_phase_3_adds_the_small_pool_and_leaves_the_large_one_as_it_is() -> None:
    new = _new(2, 3)
    assert {name for _, name in new if "slm" not in name} == set()
    large = f"{STAGING}-pool-llm"
    assert not [key for key in _changed(2, 3) if large in key[1]]


def test_phase_4_adds_only_what_adapters_need() -> None:
    steps = ("dataset", "train", "publish", "evaluate", "release")
    assert {name for _, name in _new(3, 4)} == {
        "nodes-training",
        *(f"{STAGING}-job-{step}" for step in steps),
    }
    assert _changed(3, 4) == {
        # Servers that load adapters, and evaluations that ask them.
        *(("kubernetes:apps/v1:Deployment", f"{STAGING}-pool-{p}") for p in ("slm", "llm")),
        *(
            ("kubernetes:networking.k8s.io/v1:NetworkPolicy", f"{STAGING}-pool-{pool}")
            for pool in ("slm", "llm")
        ),
        # Nodes of training.
        ("kubernetes:helm.sh/v4:Chart", "cluster-autoscaler"),
        # The probes of adapter-sync are counted apart from what customers asked.
        ("kubernetes:core/v1:ConfigMap", "billing-config"),
        ("kubernetes:core/v1:ConfigMap", f"{STAGING}-pipeline-sampler"),
        ("kubernetes:networking.k8s.io/v1:NetworkPolicy", f"{STAGING}-pipeline-sampler"),
    }


@pytest.mark.parametrize("pool", ["slm", "llm"])
def test_phase_4_changes_of_a_server_only_its_adapters(pool: str) -> None:
    old, new = (
        _one(phase, "kubernetes:apps/v1:Deployment", f"{STAGING}-pool-{pool}") for phase in (3, 4)
    )
    spec = "spec.template.spec"
    assert set(_differences(old, new)) == {
        f"{spec}.containers.0.command",
        f"{spec}.containers.0.env",
        # Of which there is more: adapters lie there.
        f"{spec}.containers.0.resources.limits.ephemeral-storage",
        f"{spec}.containers.0.resources.requests.ephemeral-storage",
        f"{spec}.volumes.2.emptyDir.sizeLimit",
    }
    before, after = _engine(3, pool), _engine(4, pool)
    added = [each for each in after["command"] if each not in before["command"]]
    assert [each.split("=")[0] for each in added] == [
        "--enable-lora",
        "--max-loras",
        "--max-cpu-loras",
        "--max-lora-rank",
    ]
    assert [each for each in before["command"] if each not in after["command"]] == []


@pytest.mark.parametrize(("phase", "needed"), [(1, "llm"), (2, "llm"), (3, "slm"), (4, "slm")])
@pytest.mark.parametrize("stack", [STAGING, "local"])
def test_a_phase_without_its_pool_is_refused(stack: str, phase: Phase, needed: str) -> None:
    pools = {
        name: pool
        for name, pool in _config(stack)["pipeline:environment"]["pools"].items()
        if name != needed
    }
    with pytest.raises(ConfigError, match=rf"pools\.{needed} is missing: phase {phase} serves it"):
        _environment(stack, phase, pools=pools)


def _local(phase: Phase, tmp_path: Any, *pools: str) -> LocalWorkloads:
    named = _config("local")["pipeline:environment"]["pools"]
    stack = _environment("local", phase, pools={name: named[name] for name in pools or named})
    assert isinstance(stack, EnvironmentStack)
    state = StateDirectory(tmp_path)
    substrate = LocalSubstrate(root=ROOT, home=state.home("local"))
    return LocalWorkloads(stack.environment, state, substrate)


@pytest.mark.parametrize(
    ("phase", "pools"), [(1, {"llm"}), (2, {"llm"}), (3, {"slm", "llm"}), (4, {"slm", "llm"})]
)
def test_a_local_environment_follows_its_phase(
    phase: Phase, pools: set[str], tmp_path: Any
) -> None:
    local = _local(phase, tmp_path, *sorted(pools))
    router = RouterConfig.model_validate_json(local.router().files["config.json"])
    sync = AdapterSyncConfig.model_validate_json(local.adapter_sync().files["config.json"])
    vllm = local.vllm()
    assert set(router.pools) == set(local.contract.pools) == pools
    # What the router hears of the server is what adapter-sync says of its base model.
    assert sync.served_base == router.pools[sync.pool].served_base
    assert ("--enable-lora" in vllm.command) == (phase == 4)
    assert ("VLLM_ALLOW_RUNTIME_LORA_UPDATING" in vllm.environment) == (phase == 4)
    assert local.contract.adapter_pools == (("slm",) if phase == 4 else ())


def _domain(**domain: Any) -> DomainConfig:
    config = {
        "pipeline:kind": "domain",
        "pipeline:environment": STAGING,
        "pipeline:domain": {**BASE_ONLY, **domain},
    }
    stack = parse(config, f"{STAGING}-stock-order", "stacks/Pulumi.staging-stock-order.yaml")
    assert isinstance(stack, DomainStack)
    return stack.domain


def _trained(*without: str, **changes: Any) -> DomainConfig:
    shipped = _config("prod-stock-order")["pipeline:domain"] | changes
    return _domain(**{name: value for name, value in shipped.items() if name not in without})


@pytest.mark.parametrize("phase", PHASES)
def test_a_domain_without_training_is_at_home_in_every_phase(phase: Phase) -> None:
    domain = _domain()
    assert domain.trained is None
    refuse_beyond_contract(domain, _declared(phase)[1])


def test_a_pool_of_a_later_phase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pools\.slm: environment 'staging' has no such pool"):
        refuse_beyond_contract(_domain(pools={"slm": "base"}), _declared(1)[1])


@pytest.mark.parametrize("phase", PHASES)
def test_an_adapter_waits_for_phase_4(phase: Phase) -> None:
    training = {"steps": 10}
    domain = _trained(pools={"llm": training})
    contract = _declared(phase)[1]
    if phase == 4:
        refuse_beyond_contract(domain, contract)
        return
    with pytest.raises(
        ConfigError,
        match=rf"pools\.llm: environment 'staging' is at phase {phase}, which has no adapters: "
        "set every pool to `base` and remove version, dataset and gate, or raise its phase to 4",
    ):
        refuse_beyond_contract(domain, contract)


def test_pools_that_take_no_adapters_in_phase_4_are_said_as_that() -> None:
    contract = _declared(4)[1].model_copy(update={"adapter_pools": ()})
    with pytest.raises(ConfigError, match="has no pool that takes adapters: set every pool"):
        refuse_beyond_contract(_trained(pools={"llm": {"steps": 10}}), contract)


@pytest.mark.parametrize("absent", ["version", "dataset", "gate"])
def test_training_without_all_that_it_needs_is_refused(absent: str) -> None:
    with pytest.raises(ConfigError, match=f"{absent} is missing: pools.llm trains an adapter"):
        _trained(absent, pools={"llm": {"steps": 10}})


@pytest.mark.parametrize("given", ["version", "dataset", "gate"])
def test_what_nothing_is_trained_with_is_refused(given: str) -> None:
    others = {"version", "dataset", "gate"} - {given}
    with pytest.raises(ConfigError, match=f"{given}: every pool is `base`.*: remove {given}, or"):
        _trained(*others, pools={"llm": "base"})


def test_other_bad_domains_without_training() -> None:
    with pytest.raises(ConfigError, match=r"pipeline:domain\.pools: "):
        _domain(pools={})
    with pytest.raises(ConfigError, match="before_first_release: nothing is released here"):
        _domain(routing={"before_first_release": "base"})


def _placed(domain: DomainConfig, phase: Phase) -> Program:
    contract = _declared(phase)[1]
    return declare(lambda: declare_place(domain, contract), _ANSWERS, stack=STAGING)


def _record(program: Program) -> TenancyRecord:
    config = program.one("kubernetes:core/v1:ConfigMap", "stock-order-tenancy")
    (text,) = config.inputs["data"].values()
    return TenancyRecord.model_validate_json(text)


@pytest.mark.parametrize("phase", PHASES)
def test_a_domain_without_training_is_its_tenant_and_nothing_else(phase: Phase) -> None:
    program = _placed(_domain(), phase)
    record = _record(program)
    assert (record.answered_by, record.pools) == ("base", ("llm",))
    kinds = {each.type for each in program.resources}
    assert not [kind for kind in kinds if kind.startswith("aws:")]
    assert "kubernetes:core/v1:ServiceAccount" not in kinds
    assert "pipeline:edge:KubernetesTenant" in kinds


@pytest.mark.parametrize(
    ("routing", "answered_by"),
    [({}, "release"), ({"before_first_release": "base"}, "base-until-release")],
)
def test_a_domain_that_trains_says_what_answers_before_its_first_release(
    routing: dict[str, str], answered_by: str
) -> None:
    shipped = _config("prod-stock-order")["pipeline:domain"]
    domain = _trained(routing=routing, dataset=_here(shipped["dataset"]))
    program = _placed(domain, 4)
    assert _record(program).answered_by == answered_by
    assert program.of_type("kubernetes:core/v1:ServiceAccount")


def _here(dataset: dict[str, Any]) -> dict[str, Any]:
    """The dataset, where the environment's jobs may read it."""
    bucket = "s3://pipeline-staging-datasets-222222222222/stock-order"
    return {**dataset, "uri": f"{bucket}/train.jsonl", "heldout_uri": f"{bucket}/heldout.jsonl"}
