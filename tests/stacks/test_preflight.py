"""What `up` refuses before it begins."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacks.cli.preflight import require_space
from stacks.config.load import ConfigError
from stacks.paths import StateDirectory


def _free(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=mib * 2**20))


def test_a_full_disk_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, 120)
    with pytest.raises(
        ConfigError, match=rf"{tmp_path}/state has 120 MiB free.*PIPELINE_STATE_DIR"
    ):
        require_space(StateDirectory(tmp_path / "state"))


def test_an_environment_that_has_its_model_needs_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _free(monkeypatch, 120)
    (tmp_path / "models" / "base").mkdir(parents=True)
    require_space(StateDirectory(tmp_path))
    _free(monkeypatch, 20)
    with pytest.raises(ConfigError, match="20 MiB free"):
        require_space(StateDirectory(tmp_path))
