"""The check of Kubernetes objects finds what is wrong."""

from typing import Any

import pytest

from tests.components import kubernetes_schema


def _cron_job() -> dict[str, Any]:
    container = {
        "name": "job",
        "image": "image",
        "resources": {"requests": {"memory": "1Gi"}},
        "securityContext": {"capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "job", "namespace": "pipeline", "labels": {"a": "b"}},
        "spec": {
            "schedule": "0 0 * * *",
            "startingDeadlineSeconds": 60.0,
            "jobTemplate": {
                "spec": {
                    "template": {"spec": {"containers": [container], "restartPolicy": "Never"}}
                }
            },
        },
    }


def _check(cron_job: dict[str, Any]) -> None:
    kubernetes_schema.check("kubernetes:batch/v1:CronJob", cron_job)


def test_takes_a_sound_object() -> None:
    _check(_cron_job())


def _set(path: str, value: Any) -> dict[str, Any]:
    made = _cron_job()
    *folders, last = path.split(".")
    at: Any = made
    for each in folders:
        at = at[int(each)] if each.isdigit() else at[each]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


_POD = "spec.jobTemplate.spec.template.spec"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.shedule", "x", "no field"),
        ("spec.schedule", None, "schedule is missing"),
        ("spec.schedule", 5, "spec.schedule: 5"),
        ("spec.startingDeadlineSeconds", 1.5, "startingDeadlineSeconds: 1.5"),
        ("spec.startingDeadlineSeconds", "60", "startingDeadlineSeconds: '60'"),
        ("kind", "Job", "CronJob.kind: 'Job'"),
        (f"{_POD}.containers", None, "containers is missing"),
        (f"{_POD}.containers.0.name", None, "name is missing"),
        (f"{_POD}.containers.0.env", [{"valeu": "x"}], "no field"),
        (f"{_POD}.containers.0.securityContext.privleged", True, "no field"),
        (f"{_POD}.containers.0.securityContext.capabilities.drop", "ALL", "drop: 'ALL'"),
        (f"{_POD}.containers.0.resources.requests.memory", "1GB", "memory: '1GB'"),
        ("metadata.name", "Job", "name 'Job'"),
        ("metadata.namespace", "", "in no namespace"),
        ("metadata.labels", {"a": "not a label"}, "label a="),
    ],
)
def test_names_what_is_wrong(path: str, value: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        _check(_set(path, value))
