"""The jobs of billing as Kubernetes objects."""

import json
import re
from typing import Any

import pulumi_kubernetes as kubernetes
import pytest

from components.billing_jobs import BillingJobs, BillingJobsArgs
from components.pods import POD_IDENTITY, NetworkPeer, PodPeer, SecretKey
from observability.alerts import BILLING_JOBS, RECONCILIATION_JOB
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_COMPONENT = "pipeline:billing:BillingJobs"
_JOB = "pipeline:kubernetes:ScheduledJob"
_CRON_JOB = "kubernetes:batch/v1:CronJob"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_NAMES = ["billing-close", "billing-parts", "billing-reconciliation"]
_FILES = {
    "billing.json": json.dumps({"environment": "prod"}),
    "prices.yaml": "currency: USD",
    "reconciliation.json": json.dumps({"sources": []}),
}


def _build(image: str = "registry.example.com/serving@sha256:" + "0a" * 32) -> None:
    args = BillingJobsArgs(
        provider=kubernetes.Provider("cluster"),
        namespace="pipeline",
        image=image,
        billing=_FILES["billing.json"],
        prices=_FILES["prices.yaml"],
        reconciliation=_FILES["reconciliation.json"],
        warehouse=[POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)],
        traces=[PodPeer(namespace="langfuse", labels={"app": "web"}, port=3000)],
        trace_credentials={
            "LANGFUSE_PUBLIC_KEY": SecretKey(secret="langfuse", key="public"),
            "LANGFUSE_SECRET_KEY": SecretKey(secret="langfuse", key="secret"),
        },
    )
    BillingJobs("billing", args)


@pytest.fixture(scope="module")
def program() -> Program:
    return declare(_build)


def _pods(program: Program) -> dict[str, dict[str, Any]]:
    return {
        each.inputs["metadata"]["name"]: each.inputs["spec"]["jobTemplate"]["spec"]["template"][
            "spec"
        ]
        for each in program.of_type(_CRON_JOB)
    }


def test_declares_three_jobs_and_one_configuration(program: Program) -> None:
    assert program.counts() == {
        _COMPONENT: 1,
        _JOB: 3,
        _CONFIG_MAP: 1,
        _CRON_JOB: 3,
        "kubernetes:core/v1:ServiceAccount": 3,
        _POLICY: 3,
    }
    assert sorted(_pods(program)) == _NAMES
    registered = program.outputs[f"{_COMPONENT}::billing"]["jobs"]
    assert sorted(registered) == _NAMES


def test_every_object_is_parented_provided_and_valid(program: Program) -> None:
    assert {each.parent for each in program.of_type(_JOB)} == {_COMPONENT}
    for each in program.objects():
        assert each.parent == (_COMPONENT if each.type == _CONFIG_MAP else _JOB)
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)


def test_each_job_has_an_account_of_its_own(program: Program) -> None:
    accounts = {name: pod["serviceAccountName"] for name, pod in _pods(program).items()}
    assert accounts == {name: name for name in _NAMES}


def test_files_reach_the_jobs_under_the_names_that_their_commands_use(program: Program) -> None:
    (config,) = program.of_type(_CONFIG_MAP)
    assert config.inputs["data"] == _FILES
    for pod in _pods(program).values():
        (container,) = pod["containers"]
        asked = [part.removeprefix("/etc/pipeline/") for part in container["command"][-1:]]
        assert set(asked) <= set(_FILES)
        volume = next(each for each in pod["volumes"] if each["name"] == "config")
        assert volume["configMap"]["name"].startswith("billing-config-")


def test_only_the_reconciliation_has_the_keys_of_the_traces_and_reaches_them(
    program: Program,
) -> None:
    for name, pod in _pods(program).items():
        (container,) = pod["containers"]
        referred = {each["name"] for each in container["env"] if "valueFrom" in each}
        plain = {each["name"] for each in container["env"] if "value" in each}
        policy = program.one(_POLICY, name)
        ports = {port["port"] for rule in policy.inputs["spec"]["egress"] for port in rule["ports"]}
        assert plain == {"XDG_CACHE_HOME"}
        if name == RECONCILIATION_JOB:
            assert referred == {"LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"}
            assert ports == {53, 80, 443, 3000}
        else:
            assert (referred, ports) == (set(), {53, 80, 443})


def test_jobs_follow_one_another_within_the_night(program: Program) -> None:
    begins = {}
    for each in program.of_type(_CRON_JOB):
        minute, hour, *rest = each.inputs["spec"]["schedule"].split()
        assert rest == ["*", "*", "*"]
        begins[each.inputs["metadata"]["name"]] = int(hour) * 60 + int(minute)
    order = sorted(begins, key=lambda name: begins[name])
    assert order == ["billing-parts", "billing-reconciliation", "billing-close"]


def test_alerts_watch_the_jobs_by_these_names(program: Program) -> None:
    names = set(_pods(program))
    assert {name for name in names if re.fullmatch(BILLING_JOBS, name)} == names
    assert RECONCILIATION_JOB in names


def test_refuses_an_image_without_a_digest() -> None:
    def build() -> None:
        with pytest.raises(ValueError, match=r"billing-parts: image 'serving:v1' is not named by"):
            _build(image="serving:v1")

    declare(build)
