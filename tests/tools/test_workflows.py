"""The workflows are valid, and a pull request previews the stacks that it touches, and no other."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stacks.paths import ROOT
from tools.changed_stacks import of_kind, touched

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STACKS = ("dev", "dev-bank-ledger", "local", "local-bank-ledger", "prod", "prod-stock-order")


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run(
        [str(ROOT / ".tools" / "bin" / "actionlint"), "-no-color", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_holds_no_key_and_asks_for_no_more_than_it_needs(path: Path) -> None:
    text = path.read_text()
    assert "secrets." not in text.replace("github.token", "")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def _accepted(tmp_path: Path, stack: str, ref: str) -> dict[str, str] | None:
    """What the first job of `up` says of a stack; None when it refuses."""
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "up.yml").read_text())["jobs"]["stack"]
    (script,) = (step["run"] for step in job["steps"] if "run" in step)
    output = tmp_path / "output"
    output.unlink(missing_ok=True)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=ROOT,
        env={"STACK": stack, "GITHUB_REF": ref, "GITHUB_OUTPUT": str(output)},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        assert not output.exists()
        return None
    return dict(line.split("=", 1) for line in output.read_text().splitlines())


@pytest.mark.parametrize(
    ("stack", "environment"),
    [("dev", "dev"), ("staging", "staging"), ("prod", "prod"), ("prod-bank-ledger", "prod")],
)
def test_a_stack_comes_up_under_the_rules_of_its_own_environment(
    tmp_path: Path, stack: str, environment: str
) -> None:
    accepted = _accepted(tmp_path, stack, "refs/heads/main")
    assert accepted == {"name": stack, "environment": environment}


@pytest.mark.parametrize("ref", ["refs/heads/feature", "refs/tags/main", "refs/pull/1/merge"])
def test_nothing_comes_up_from_a_branch_that_nobody_reviewed(tmp_path: Path, ref: str) -> None:
    assert _accepted(tmp_path, "dev", ref) is None


@pytest.mark.parametrize("stack", ["", "no-such", "../dev", "dev\nname=prod", "dev;id", "-dev"])
def test_an_event_names_a_stack_and_nothing_else(tmp_path: Path, stack: str) -> None:
    assert _accepted(tmp_path, stack, "refs/heads/main") is None


def test_roles_are_taken_within_github_environments_alone() -> None:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            takes = any("role" in step.get("with", {}) for step in job.get("steps", ()))
            assert takes == ("environment" in job), (path.stem, name)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["README.md", "docs/billing.md", "tests/x.py"], []),
        (["stacks/Pulumi.prod-stock-order.yaml"], ["prod-stock-order"]),
        (["stacks/Pulumi.dev.yaml"], ["dev", "dev-bank-ledger"]),
        (["components/router.py"], ["dev", "dev-bank-ledger", "prod", "prod-stock-order"]),
        (["stacks/prices.yaml"], ["dev", "dev-bank-ledger", "prod", "prod-stock-order"]),
        (["stacks/Pulumi.local.yaml"], []),
        (["stacks/Pulumi.gone.yaml"], []),
    ],
)
def test_a_change_touches_the_stacks_that_read_it(paths: list[str], expected: list[str]) -> None:
    assert touched(paths, STACKS) == expected


def test_environments_come_up_before_their_domains() -> None:
    stacks = touched(["components/router.py"], STACKS)
    assert of_kind(stacks, "environment") == ["dev", "prod"]
    assert of_kind(stacks, "domain") == ["dev-bank-ledger", "prod-stock-order"]


def test_an_unknown_base_is_named() -> None:
    command = [sys.executable, "tools/changed_stacks.py", "--base", "no-such-commit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no-such-commit" in done.stderr
