"""The rules of graphs refuse what they are for."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.components.declared import Program
from tests.stacks import graph_rules as rules
from tests.stacks.environments import shipped

ROUTER = ("StatefulSet", "agentic-serving", "router")


def broken(break_it: Callable[[dict[str, Any]], object]) -> Program:
    """The shipped development environment, with the router's inputs changed."""
    program = shipped("dev").program
    inputs = {
        index: copy.deepcopy(dict(each.inputs))
        for index, each in enumerate(program.resources)
        if each in rules.objects(program) and rules.identity(each) == ROUTER
    }
    ((index, changed),) = inputs.items()
    break_it(changed)
    resources = list(program.resources)
    resources[index] = replace(resources[index], inputs=changed)
    return Program(resources=resources, outputs=program.outputs)


def pod(inputs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = inputs["spec"]["template"]["spec"]
    return found


def container(inputs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(inputs)["containers"][0]
    return found


@pytest.mark.parametrize(
    ("rule", "break_it"),
    [
        (rules.long_names, lambda i: i["metadata"].update(name="r" * 53)),
        (rules.unbounded, lambda i: container(i)["resources"]["limits"].pop("memory")),
        (rules.unbounded, lambda i: container(i)["resources"]["requests"].update(memory="1Mi")),
        (
            rules.unprobed,
            lambda i: [container(i).pop(f"{each}Probe") for each in ("readiness", "startup")],
        ),
        (rules.privileged, lambda i: pod(i).update(hostNetwork=True)),
        (rules.privileged, lambda i: container(i).pop("securityContext")),
        (rules.wrong_accounts, lambda i: pod(i).update(serviceAccountName="default")),
        (rules.unguarded, lambda i: i["spec"]["template"]["metadata"].update(labels={"a": "b"})),
        (rules.movable_images, lambda i: container(i).update(image="router:latest")),
        (rules.malformed, lambda i: i["spec"].update(replica=2)),
    ],
)
def test_a_broken_router_is_found(rule: Any, break_it: Callable[[dict[str, Any]], object]) -> None:
    assert not rule(shipped("dev").program)
    assert any("router" in line or "r" * 53 in line for line in rule(broken(break_it)))


def test_a_name_that_is_there_twice_is_found() -> None:
    program = shipped("dev").program
    assert rules.shared_names(Program(resources=[*program.resources, program.resources[-1]]))


def test_what_lacks_a_tag_is_found() -> None:
    missing = rules.untagged(shipped("dev").program, {"cost-center": "another"})
    assert any("aws:s3/bucket:Bucket" in line for line in missing)


def test_a_secret_in_plain_text_is_found() -> None:
    program = broken(lambda i: container(i)["env"].append({"name": "X", "value": "a-5ECRET-b"}))
    (leak,) = rules.leaks(program, {"password": "5ECRET"})
    assert leak.endswith(": password")
