"""Domain stacks on clusters: what they declare beside each other and beside their environment."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from registry.names import PoolName
from registry.release import Step, StepKind
from serving.mlflow_users.config import MlflowUsersConfig
from stacks import job_specs, main
from stacks.config.load import DomainStack, parse
from stacks.contract import EnvironmentContract, parse_contract
from stacks.programs import domain as program
from stacks.programs.cluster.context import OPERATIONS, TRAINING
from stacks.programs.domain_place import declare_place
from stacks.release_inputs import desired_release
from substrates.kubernetes.jobs import WORK, object_name
from substrates.workload import Job
from tests.components.declared import Declared, password, revealed
from tests.stacks import graph_rules as rules
from tests.stacks.environments import (
    SECRETS,
    Engine,
    Graph,
    declare_program,
    raw,
    shipped,
)
from tests.stacks.test_job_specs import observed_release

STEPS: tuple[StepKind, ...] = ("dataset", "train", "publish", "evaluate", "release")
SHIPPED_DOMAINS = ("bank-ledger", "stock-order", "insurance-contract")
LONGEST = "domain-of-forty-characters-0123456789-ab"
DOMAINS = (*SHIPPED_DOMAINS, "bank", "bank-ledger-2", "a", LONGEST)
JOB = "kubernetes:batch/v1:Job"
_MLFLOW_USERS = "pipeline:services:MlflowUsers"


def domain_config(name: str, **changes: Any) -> dict[str, Any]:
    """The `config` section of a domain of production."""
    config = raw("prod-bank-ledger")
    domain = config["pipeline:domain"]
    folder = f"s3://pipeline-prod-datasets-333333333333/{name}"
    dataset = {
        **domain["dataset"],
        "uri": f"{folder}/pairs.jsonl",
        "heldout_uri": f"{folder}/heldout.jsonl",
    }
    return config | {
        "pipeline:domain": {**domain, "name": name, "header_aliases": [], "dataset": dataset}
        | changes
    }


def domain_stack(name: str, **changes: Any) -> DomainStack:
    stack = parse(domain_config(name, **changes), f"prod-{name}", "file")
    assert isinstance(stack, DomainStack)
    return stack


def declared(stack: DomainStack, contract: Mapping[str, Any], registry: Path) -> Graph:
    """What a domain stack declares in an environment whose registry is a directory."""
    told = {**contract, "registry_uri": f"file://{registry}"}
    engine = Engine(outputs={"contract": told})
    return declare_program(
        lambda: program.run(stack, jobs=job_specs.jobs), f"prod-{stack.domain.name}", engine
    )


@pytest.fixture(scope="module")
def contract() -> Mapping[str, Any]:
    """What production says of itself."""
    told: Mapping[str, Any] = shipped("prod").exports["contract"]
    return told


@pytest.fixture(scope="module")
def graphs(
    contract: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Graph]:
    registry = tmp_path_factory.mktemp("registry")
    return {name: declared(domain_stack(name), contract, registry) for name in DOMAINS}


def every_job(stack: DomainStack, contract: EnvironmentContract) -> dict[str, Mapping[str, Any]]:
    """The pod of the job of each kind of step."""
    domain = stack.domain
    observed = observed_release(domain.name, domain.version, desired_release(domain, contract).gate)

    def build() -> None:
        substrate = declare_place(domain, contract).jobs
        render = job_specs.jobs(domain, contract, substrate, observed)
        for kind in STEPS:
            pool: PoolName | None = "slm" if kind == "train" else None
            step = Step(kind=kind, run_id=f"{kind}-0f", attempt=0, pool=pool, generation=1)
            substrate.job(render(step), pulumi.ResourceOptions())

    graph = declare_program(build, stack.name)
    assert not rules.malformed(graph.program)
    return {
        pod.owner.name.split("-")[-2]: pod.spec
        for pod in rules.pods(graph.program)
        if pod.namespace == TRAINING
    }


def of_kind(graph: Graph, kind: str) -> list[Declared]:
    return [each for each in rules.objects(graph.program) if rules.kind_of(each) == kind]


def test_shipped_domains_are_those_of_production() -> None:
    for name in SHIPPED_DOMAINS:
        stack = parse(raw(f"prod-{name}"), f"prod-{name}", "file")
        assert isinstance(stack, DomainStack)
        assert stack.environment == "prod"


def test_a_domain_is_a_key_a_record_a_route_a_user_of_mlflow_and_five_roles(
    graphs: Mapping[str, Graph],
) -> None:
    graph = graphs["bank-ledger"]
    names = {kind: {rules.identity(e)[2] for e in of_kind(graph, kind)} for kind in _KINDS}
    jobs = {f"bank-ledger-{step}" for step in STEPS}
    assert names["ServiceAccount"] == {*jobs, "mlflow-domain-bank-ledger"}
    assert {key: len(found) for key, found in names.items()} == _KINDS
    roles = graph.program.of_type("aws:iam/role:Role")
    assert {role.inputs["path"] for role in roles} == {f"/pipeline-prod/{s}/" for s in STEPS}
    associations = graph.program.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert {each.inputs["serviceAccount"] for each in associations} == jobs


_KINDS = {"ServiceAccount": 6, "Secret": 3, "HTTPRoute": 1, "TrafficPolicy": 1, "Job": 2}


@pytest.mark.parametrize(
    "rule",
    [
        rules.shared_names,
        rules.long_names,
        rules.unbounded,
        rules.privileged,
        rules.movable_images,
        rules.malformed,
    ],
    ids=lambda rule: rule.__name__.replace("_", " "),
)
@pytest.mark.parametrize("name", DOMAINS)
def test_nothing_of_a_domain_breaks_a_rule(
    graphs: Mapping[str, Graph], name: str, rule: Any
) -> None:
    assert rules.pods(graphs[name].program)
    assert not rule(graphs[name].program)


@pytest.mark.parametrize("name", DOMAINS)
def test_the_key_of_a_domain_is_nowhere_in_plain_text(
    graphs: Mapping[str, Graph], name: str
) -> None:
    graph = graphs[name]
    made = {"key": "cmp_key_1", "password": mlflow_password(name)}
    assert not rules.leaks(graph.program, {**SECRETS, **made})
    assert secrets_of(graph)[TRAINING, f"domain-key-{name}"] == {"key": "cmp_key_1"}


def secrets_of(graph: Graph) -> Mapping[tuple[str, str], Any]:
    """What each Secret holds, by namespace and name."""
    return {
        rules.identity(each)[1:]: revealed(each.inputs["stringData"])
        for each in of_kind(graph, "Secret")
    }


def mlflow_password(domain: str, serial: int = 1) -> str:
    return password(f"pipeline-domain-{domain}", serial)


def mlflow_job(graph: Graph) -> tuple[rules.Pod, MlflowUsersConfig]:
    """The job that makes the user of a domain, and what it is told."""
    (pod,) = (each for each in rules.pods(graph.program) if each.namespace == OPERATIONS)
    (told,) = (
        each.inputs["data"]["users.json"]
        for each in of_kind(graph, "ConfigMap")
        if "users.json" in each.inputs["data"]
    )
    return pod, MlflowUsersConfig.model_validate_json(told)


def secrets_in(pod: rules.Pod) -> dict[str, tuple[str, str]]:
    """Secret and key of each variable of a pod."""
    return {
        each["name"]: (ref["name"], ref["key"])
        for container in pod.containers
        for each in container["env"]
        if (ref := each.get("valueFrom", {}).get("secretKeyRef"))
    }


@pytest.mark.parametrize("name", DOMAINS)
def test_training_logs_in_to_mlflow_as_its_domain(graphs: Mapping[str, Graph], name: str) -> None:
    graph, login = graphs[name], f"mlflow-domain-{name}"
    pod, told = mlflow_job(graph)
    (user,) = told.users
    assert (user.name, user.permission) == (f"pipeline-domain-{name}", "EDIT")
    assert user.experiment == f"training/{name}"
    held = secrets_of(graph)
    assert held[TRAINING, login] == {"username": user.name, "password": mlflow_password(name)}
    secret, key = secrets_in(pod)[str(user.password.env)]
    assert held[OPERATIONS, secret][key] == mlflow_password(name)


def test_no_job_of_a_domain_has_the_login_of_mlflows_administrator(
    graphs: Mapping[str, Graph], contract: Mapping[str, Any], tmp_path: Path
) -> None:
    pod, told = mlflow_job(graphs["bank"])
    admin = {str(told.admin_username.env), str(told.admin_password.env)}
    assert {secrets_in(pod)[name] for name in admin} == {
        ("mlflow", "username"),
        ("mlflow", "password"),
    }
    parsed = parse_contract({**contract, "registry_uri": f"file://{tmp_path}"}, "prod")
    for step, spec in every_job(domain_stack("bank"), parsed).items():
        read = {
            each["valueFrom"]["secretKeyRef"]["name"]
            for container in [*spec["containers"], *spec.get("initContainers", [])]
            for each in container["env"]
            if "valueFrom" in each
        }
        assert read == ({"mlflow-domain-bank"} if step == "train" else set())


def test_jobs_of_a_domain_wait_until_mlflow_knows_its_user(graphs: Mapping[str, Graph]) -> None:
    users, job = sorted(
        of_kind(graphs["bank"], "Job"), key=lambda each: each.parent != _MLFLOW_USERS
    )
    assert f"{users.type}::{users.name}" in job.after
    # The engine waits for one that says nothing of it.
    assert not users.inputs["metadata"].get("annotations")


def test_another_serial_is_another_password_and_another_run(
    graphs: Mapping[str, Graph], contract: Mapping[str, Any], tmp_path: Path
) -> None:
    rotated = declared(domain_stack("bank", mlflow_serial=2), contract, tmp_path)
    assert secrets_of(rotated)[TRAINING, "mlflow-domain-bank"] == {
        "username": "pipeline-domain-bank",
        "password": mlflow_password("bank", 2),
    }
    before, after = (mlflow_job(graph)[0] for graph in (graphs["bank"], rotated))
    assert before.spec == after.spec
    # A Job cannot be changed: another template makes another one.
    assert before.metadata != after.metadata


def test_a_domain_that_trains_nothing_has_no_user(
    contract: Mapping[str, Any], tmp_path: Path
) -> None:
    config = domain_config("plain")["pipeline:domain"]
    bare = {key: config[key] for key in ("name", "customer", "header_aliases")}
    raw_stack = domain_config("plain") | {"pipeline:domain": bare | {"pools": {"slm": "base"}}}
    stack = parse(raw_stack, "prod-plain", "file")
    assert isinstance(stack, DomainStack)
    graph = declared(stack, contract, tmp_path)
    assert list(secrets_of(graph)) == [(TRAINING, "domain-key-plain")]
    assert not of_kind(graph, "Job")


def test_roles_are_tagged_with_domain_and_customer(graphs: Mapping[str, Graph]) -> None:
    wanted = {"domain": "bank-ledger", "customer": "customer-bank-A", "owner": "platform-team"}
    assert not rules.untagged(graphs["bank-ledger"].program, wanted)


def test_no_two_domains_or_their_environment_share_a_name(graphs: Mapping[str, Graph]) -> None:
    every = [*graphs.values(), shipped("prod")]
    objects = Counter(rules.identity(e) for graph in every for e in rules.objects(graph.program))
    roles = Counter(
        role.inputs["name"]
        for graph in every
        for role in graph.program.of_type("aws:iam/role:Role")
        if "name" in role.inputs
    )
    assert len(roles) > len(graphs) * len(STEPS)
    assert [name for counted in (objects, roles) for name, n in counted.items() if n > 1] == []


def test_pods_of_a_job_are_selected_by_policies_of_the_environment(
    graphs: Mapping[str, Graph],
) -> None:
    policies = of_kind(shipped("prod"), "NetworkPolicy")
    for pod in rules.pods(graphs["bank-ledger"].program):
        here = [p for p in policies if p.inputs["metadata"]["namespace"] == pod.namespace]
        assert any(
            rules._selector(p) and rules._selects(rules._selector(p), pod.labels) for p in here
        ), pod.place
        assert not pod.has_token


def test_a_job_is_submitted_once_and_not_waited_for(graphs: Mapping[str, Graph]) -> None:
    (job,) = (
        each for each in of_kind(graphs["bank-ledger"], "Job") if each.parent != _MLFLOW_USERS
    )
    assert job.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
    assert "ttlSecondsAfterFinished" not in job.inputs["spec"]


@pytest.mark.parametrize("attempt", [0, 1, 12])
def test_attempts_of_jobs_have_names_of_their_own(attempt: int) -> None:
    def named(domain: str, attempt: int) -> str:
        job = Job(
            name=f"{domain}-train-slm-{'0f' * 6}",
            image="train",
            role="train",
            command=("python",),
            environment={},
            attempt=attempt,
        )
        return object_name(job)

    for domain in DOMAINS:
        name = named(domain, attempt)
        assert len(name) <= 63
        assert rules._LABEL.fullmatch(name)
        assert name != named(domain, attempt + 1)


def test_gpus_are_for_training_alone(contract: Mapping[str, Any], tmp_path: Path) -> None:
    stack = domain_stack("bank")
    told = parse_contract({**contract, "registry_uri": f"file://{tmp_path}"}, "prod")
    jobs = every_job(stack, told)
    for step, spec in jobs.items():
        (container,) = spec["containers"]
        has_gpus = "nvidia.com/gpu" in container["resources"]["limits"]
        assert (has_gpus, "nodeSelector" in spec, "tolerations" in spec) == (
            (True, True, True) if step == "train" else (False, False, False)
        )
        env = {each["name"]: each.get("value") for each in container["env"]}
        assert env["PIPELINE_PRICE_CLASS"] == "on-demand"
        assert ("MLFLOW_TRACKING_PASSWORD" in env) == (step == "train")
        assert spec["serviceAccountName"] == f"bank-{step}"


def test_each_job_fetches_what_its_program_reads(
    contract: Mapping[str, Any], tmp_path: Path
) -> None:
    told = parse_contract({**contract, "registry_uri": f"file://{tmp_path}"}, "prod")
    for step, spec in every_job(domain_stack("bank"), told).items():
        fetched = [c for init in spec.get("initContainers", []) for c in init["command"][3:]]
        assert bool(fetched) == (step != "release")
        for uri, path in (pair.rsplit("=", 1) for pair in fetched):
            assert uri.startswith("s3://pipeline-prod-")
            assert path.startswith(f"{WORK}/inputs/")


def test_a_domain_whose_data_is_elsewhere_is_refused(
    contract: Mapping[str, Any], tmp_path: Path
) -> None:
    dataset = domain_config("bank")["pipeline:domain"]["dataset"]
    foreign = "s3://pipeline-prod-datasets-333333333333/bank-ledger/pairs.jsonl"
    stack = domain_stack("bank", dataset={**dataset, "uri": foreign})
    with pytest.raises(Exception, match=r"pipeline:domain \(bank\): dataset: .*bank-ledger"):
        declared(stack, contract, tmp_path)


def test_verdicts_are_verified_with_the_key_that_the_environment_says(
    contract: Mapping[str, Any], tmp_path: Path
) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"
    place = {**contract["place"], "evaluation_public_key": pem}
    told = parse_contract({**contract, "place": place}, "prod")
    assert told.verifying_key == pem.encode()
    assert not Path(told.evaluation_public_key).exists()


@pytest.mark.parametrize("count", [0, 200])
def test_an_environment_is_the_same_whatever_domains_there_are(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(count):
        name = f"domain-{number}"
        document = {"config": domain_config(name)}
        (tmp_path / f"Pulumi.prod-{name}.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(main, "_STACKS", tmp_path)
    config = {key: v if isinstance(v, str) else json.dumps(v) for key, v in raw("prod").items()}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    graph = declare_program(main.run, "prod")
    assert _comparable(graph) == _comparable(shipped("prod"))


def _comparable(graph: Graph) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    return {(e.parent, e.type, e.name): e.inputs for e in graph.program.resources}
