"""The jobs of billing as Kubernetes objects."""

import json
import re
from itertools import pairwise
from typing import Any

import pulumi_kubernetes as kubernetes
import pytest

from components.billing_jobs import BillingJobs, BillingJobsArgs
from components.object_store import ObjectStoreAccess
from components.pods import POD_IDENTITY, NetworkPeer, PodPeer, SecretKey
from observability.alerts import BILLING_JOBS, RECONCILIATION_JOB, alert_rules
from observability.rules import AlertRule
from serving.billing.command import ATTENTION_STATUS
from serving.reconciliation.command import UNKNOWN
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
        object_store=ObjectStoreAccess(
            environment={"AWS_REGION": "eu-central-1"},
            peers=(POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)),
        ),
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
        assert plain == {"AWS_REGION", "XDG_CACHE_HOME", "MPLCONFIGDIR"}
        if name == RECONCILIATION_JOB:
            assert referred == {"LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"}
            assert ports == {53, 80, 443, 3000}
        else:
            assert (referred, ports) == (set(), {53, 80, 443})


def _limits_s(program: Program) -> dict[str, int]:
    return {
        each.inputs["metadata"]["name"]: each.inputs["spec"]["jobTemplate"]["spec"][
            "activeDeadlineSeconds"
        ]
        for each in program.of_type(_CRON_JOB)
    }


def test_each_job_is_over_before_the_next_begins(program: Program) -> None:
    begins = {}
    for each in program.of_type(_CRON_JOB):
        minute, hour, *rest = each.inputs["spec"]["schedule"].split()
        assert rest == ["*", "*", "*"]
        begins[each.inputs["metadata"]["name"]] = (int(hour) * 60 + int(minute)) * 60
    order = sorted(begins, key=lambda name: begins[name])
    assert order == ["billing-parts", "billing-reconciliation", "billing-close"]
    limits = _limits_s(program)
    for earlier, later in pairwise(order):
        assert begins[earlier] + limits[earlier] <= begins[later]


def test_an_exit_code_that_is_an_answer_gets_no_second_attempt(program: Program) -> None:
    final = {}
    for each in program.of_type(_CRON_JOB):
        policy = each.inputs["spec"]["jobTemplate"]["spec"].get("podFailurePolicy", {"rules": []})
        codes = [code for rule in policy["rules"] for code in rule["onExitCodes"]["values"]]
        final[each.inputs["metadata"]["name"]] = codes
    assert final == {
        "billing-parts": [],
        "billing-close": [ATTENTION_STATUS],
        "billing-reconciliation": [UNKNOWN],
    }


def test_alerts_watch_the_jobs_by_these_names(program: Program) -> None:
    names = set(_pods(program))
    assert {name for name in names if re.fullmatch(BILLING_JOBS, name)} == names
    assert RECONCILIATION_JOB in names


def test_no_alert_fires_while_a_job_may_still_run(program: Program) -> None:
    waits_h = {
        rule.name: int(rule.wait.removesuffix("h"))
        for group in alert_rules()
        for rule in group.rules
        if isinstance(rule, AlertRule) and "kube_cronjob" in rule.expr
    }
    limits_s = _limits_s(program)
    reconciliation_s = limits_s.pop(RECONCILIATION_JOB)
    assert reconciliation_s < waits_h.pop("ReconciliationUnknown") * 3600
    assert max(limits_s.values()) < waits_h.pop("BillingJobNotDone") * 3600
    assert not waits_h


def test_refuses_an_image_without_a_digest() -> None:
    def build() -> None:
        with pytest.raises(ValueError, match=r"billing-parts: image 'serving:v1' is not named by"):
            _build(image="serving:v1")

    declare(build)
