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
