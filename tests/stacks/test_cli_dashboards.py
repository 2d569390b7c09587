"""`pipeline dashboards` writes files that stand for themselves."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from stacks.cli.app import app
from stacks.config.load import ConfigError


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dashboards", *arguments])


def test_writes_every_dashboard_and_the_rules_and_names_them(tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    result = _run("--out", str(out))
    assert result.exit_code == 0, result.output
    written = sorted(out.iterdir())
    assert sorted(result.output.split()) == [str(path) for path in written]
    boards = [json.loads(path.read_text()) for path in written if path.suffix == ".json"]
    assert {f"{board['uid']}.json" for board in boards} | {"rules.yaml"} == {
        path.name for path in written
    }
    assert yaml.safe_load((out / "rules.yaml").read_text())["groups"]


def test_estimates_by_the_price_table_that_is_given(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    pools = {"slm": {"input": "1", "cached_input": "0.5", "output": "2"}}
    prices.write_text(
        yaml.safe_dump({"currency": "CHF", "prices": [{"from": "2026-01-01", "pools": pools}]})
    )
    out = tmp_path / "out"
    assert _run("--out", str(out), "--prices", str(prices)).exit_code == 0
    assert "currency:CHF" in (out / "pipeline-customers.json").read_text()
    rules = (out / "rules.yaml").read_text()
    assert "vector(0.000001)" in rules
    assert "currency: CHF" in rules


def test_a_price_table_that_is_none_is_named(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: dollars")
    result = _run("--out", str(tmp_path / "out"), "--prices", str(prices))
    assert isinstance(result.exception, ConfigError)
    assert str(prices) in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    result = _run("--out", str(out))
    with pytest.raises(ConfigError, match=f"--out {out}"):
        raise result.exception or AssertionError(result.output)
