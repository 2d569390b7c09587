"""One scheduled job as Kubernetes objects."""

from dataclasses import replace
from typing import Any

import pulumi_kubernetes as kubernetes
import pytest

from components.pods import (
    POD_IDENTITY,
    Container,
    NetworkPeer,
    PodPeer,
    Resources,
    SecretKey,
)
from components.scheduled_job import ScheduledJob, ScheduledJobArgs
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare

_COMPONENT = "pipeline:kubernetes:ScheduledJob"
_SERVICE_ACCOUNT = "kubernetes:core/v1:ServiceAccount"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_CRON_JOB = "kubernetes:batch/v1:CronJob"

CONTAINER = Container(
    name="nightly",
    image="registry.example.com/serving@sha256:" + "0a" * 32,
    command=("python", "-m", "serving.nightly"),
    resources=Resources(cpu="500m", memory="2Gi", scratch="10Gi"),
    config_map="nightly-config",
    environment={"TZ": "UTC"},
    secrets={"LANGFUSE_SECRET_KEY": SecretKey(secret="langfuse", key="secret")},
)


def _args(**changes: Any) -> ScheduledJobArgs:
    values: dict[str, Any] = {
        "provider": kubernetes.Provider("cluster"),
        "namespace": "pipeline",
        "container": CONTAINER,
        "schedule": "15 2 * * *",
        "run_limit_s": 3600,
        "start_limit_s": 7200,
        "egress": [
            POD_IDENTITY,
            NetworkPeer(cidr="10.0.0.0/16", port=443),
            PodPeer(namespace="langfuse", labels={"app": "web"}, port=3000),
        ],
        "final_exit_codes": (3,),
    }
    return ScheduledJobArgs(**values | changes)


@pytest.fixture(scope="module")
def program() -> Program:
    return declare(lambda: ScheduledJob("nightly", _args()))


def _pod(program: Program) -> dict[str, Any]:
    (cron_job,) = program.of_type(_CRON_JOB)
    pod: dict[str, Any] = cron_job.inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def test_declares_a_cron_job_with_account_and_policy_of_its_own(program: Program) -> None:
    assert program.counts() == {_COMPONENT: 1, _SERVICE_ACCOUNT: 1, _POLICY: 1, _CRON_JOB: 1}
    for each in program.objects():
        assert each.parent == _COMPONENT
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)


def test_runs_never_overlap_and_never_pile_up(program: Program) -> None:
    (cron_job,) = program.of_type(_CRON_JOB)
    spec = dict(cron_job.inputs["spec"])
    template = spec.pop("jobTemplate")["spec"]
    assert spec == {
        "schedule": "15 2 * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 7200,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 5,
    }
    assert (template["backoffLimit"], template["activeDeadlineSeconds"]) == (2, 3600)


def test_an_answer_is_not_asked_for_again(program: Program) -> None:
    (cron_job,) = program.of_type(_CRON_JOB)
    (rule,) = cron_job.inputs["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}


def test_the_pod_is_restricted(program: Program) -> None:
    pod = _pod(program)
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (account,) = program.of_type(_SERVICE_ACCOUNT)
    assert account.inputs["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == account.inputs["metadata"]["name"] == "nightly"


def test_memory_and_disk_are_reserved_and_bounded(program: Program) -> None:
    pod = _pod(program)
    (container,) = pod["containers"]
    held = {"memory": "2Gi", "ephemeral-storage": "10Gi"}
    assert container["resources"] == {"requests": {"cpu": "500m", **held}, "limits": held}
    scratch = next(volume for volume in pod["volumes"] if volume["name"] == "scratch")
    assert scratch["emptyDir"] == {"sizeLimit": "10Gi"}


def test_files_are_read_only_and_secrets_come_by_reference(program: Program) -> None:
    pod = _pod(program)
    (container,) = pod["containers"]
    config = next(volume for volume in pod["volumes"] if volume["name"] == "config")
    assert config["configMap"] == {"name": "nightly-config"}
    assert {"name": "config", "mountPath": "/etc/pipeline", "readOnly": True} in container[
        "volumeMounts"
    ]
    assert container["env"] == [
        {"name": "TZ", "value": "UTC"},
        {
            "name": "LANGFUSE_SECRET_KEY",
            "valueFrom": {"secretKeyRef": {"name": "langfuse", "key": "secret"}},
        },
    ]


def test_reaches_dns_and_what_is_named_and_is_reached_by_nobody(program: Program) -> None:
    (policy,) = program.of_type(_POLICY)
    spec = policy.inputs["spec"]
    (cron_job,) = program.of_type(_CRON_JOB)
    template = cron_job.inputs["spec"]["jobTemplate"]["spec"]["template"]
    assert spec["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["ingress"] == []
    dns, *named = spec["egress"]
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert [rule["to"][0] for rule in named] == [
        {"ipBlock": {"cidr": "169.254.170.23/32"}},
        {"ipBlock": {"cidr": "10.0.0.0/16"}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "langfuse"}},
            "podSelector": {"matchLabels": {"app": "web"}},
        },
    ]
    assert [rule["ports"] for rule in named] == [
        [{"protocol": "TCP", "port": port}] for port in (80, 443, 3000)
    ]


def test_without_answers_every_failure_is_tried_again() -> None:
    program = declare(lambda: ScheduledJob("nightly", _args(final_exit_codes=())))
    (cron_job,) = program.of_type(_CRON_JOB)
    assert "podFailurePolicy" not in cron_job.inputs["spec"]["jobTemplate"]["spec"]


def test_refuses_an_image_without_a_digest() -> None:
    with pytest.raises(ValueError, match=r"nightly: image 'serving:v1' is not named by digest"):
        replace(CONTAINER, image="serving:v1")


def test_refuses_the_internet() -> None:
    with pytest.raises(ValueError, match="whole internet"):
        NetworkPeer(cidr="0.0.0.0/0", port=443)


def test_refuses_a_bad_schedule_and_a_long_name() -> None:
    def build() -> None:
        with pytest.raises(ValueError, match=r"nightly: schedule '61 2 \* \* \*'"):
            _args(schedule="61 2 * * *")
        with pytest.raises(ValueError, match="cannot name a CronJob"):
            _args(container=replace(CONTAINER, name="n" * 53))

    declare(build)
