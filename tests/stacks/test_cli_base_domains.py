"""What the command says and does for domains that train nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import CliRunner

from registry.store import open_store
from stacks.cli import inspection, releases, report
from stacks.cli.project import Project
from stacks.config.load import ConfigError
from stacks.paths import ROOT

NAME = "local-stock-order"


def _write(stacks: Path, pools: dict[str, Any]) -> None:
    domain = {"name": "stock-order", "customer": "customer-C", "pools": pools}
    config = {
        "pipeline:kind": "domain",
        "pipeline:environment": "local",
        "pipeline:domain": domain,
    }
    (stacks / f"Pulumi.{NAME}.yaml").write_text(yaml.safe_dump({"config": config}, sort_keys=False))


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    for shipped in ("local", "local-bank-ledger"):
        shutil.copy(ROOT / "stacks" / f"Pulumi.{shipped}.yaml", folder)
    _write(folder, {"llm": "base"})
    monkeypatch.setenv("PIPELINE_STACKS_DIR", str(folder))
    monkeypatch.setenv("PIPELINE_STATE_DIR", str(tmp_path / "state"))
    return folder


@pytest.mark.usefixtures("stacks")
@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", NAME, "--as", "lead-a"),
        ("rollback", NAME, "--reason", "slow"),
        ("release", NAME, "--lift-hold"),
    ],
)
def test_there_is_no_release_to_decide_about(arguments: tuple[str, ...]) -> None:
    app = typer.Typer()
    releases.register(app)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == (
        f"{NAME} trains nothing: base models answer for it, and it has no releases"
    )


@pytest.mark.usefixtures("stacks")
def test_status_tells_base_models_from_releases_that_are_missing(tmp_path: Path) -> None:
    project = Project.default()
    domains, store = project.domains("local"), open_store(f"file://{tmp_path}/registry")
    console = Console(width=200, record=True)
    console.print(report.releases_table(store, domains))
    shown = console.export_text()
    assert "stock-order: base models" in shown
    assert "bank-ledger: none" in shown
    assert not [line for line in report.notes(store, domains) if "stock-order" in line]


@pytest.mark.parametrize(
    ("domain", "pool"), [("stock-order", "llm"), ("bank-ledger", "slm"), ("both", "slm")]
)
def test_a_question_goes_to_the_adapter_or_to_the_first_pool(
    stacks: Path, monkeypatch: pytest.MonkeyPatch, domain: str, pool: str
) -> None:
    if domain == "both":
        _write(stacks, {"slm": "base", "llm": "base"})
        domain = "stock-order"
    asked: list[dict[str, Any]] = []

    def answer(_url: str, body: dict[str, Any], headers: dict[str, str]) -> list[str]:
        assert headers["X-Customer-Domain"] == domain
        asked.append(json.loads(json.dumps(body)))
        return ["yes"]

    monkeypatch.setattr(inspection, "_stream", answer)
    outputs = {"key": "cmp_key", "edge_url": "http://edge/v1"}
    monkeypatch.setattr(inspection, "read_outputs", lambda _name, _state: outputs)
    app = typer.Typer()
    app.command()(inspection.ask)
    result = CliRunner().invoke(app, ["is it?", "--domain", domain])
    assert (result.exit_code, result.stdout) == (0, "yes\n")
    assert [body["model"] for body in asked] == [pool]


@pytest.mark.usefixtures("stacks")
def test_the_report_says_how_to_ask_it() -> None:
    project = Project.default()
    domains = {each.domain.name: each.domain for each in project.domains("local")}
    command = report._ask(project, domains["stock-order"])
    assert command is not None
    assert command.startswith(".venv/bin/pipeline ask --domain stock-order ")
    # Its held-out rows are not on this machine.
    assert report._ask(project, domains["bank-ledger"]) is None
