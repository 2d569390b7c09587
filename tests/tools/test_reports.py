"""What a person reads: progress lines, failure advice, disk space, test counts."""

import io
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from tools.setup import cli
from tools.setup.console import Console, format_seconds
from tools.setup.failure import advice, last_lines
from tools.setup.model import Layout, Step
from tools.setup.steps import plan
from tools.test import Suite, has_tests, read_counts

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("log", "part"),
    [
        ("write /x: no space left on device", "disk is full"),
        ("error: Hash mismatch for torch", "cache clean"),
        ("error: Failed to fetch: `torch`", "check the network"),
        ("The virtual environment was not created: ensurepip is not available", "python3-venv"),
        ("compile: signal: killed", "out of memory"),
        ("something else", "Read the log"),
    ],
)
def test_advice_fits_the_output(log: str, part: str) -> None:
    assert part in advice(log)


def test_last_lines_leaves_blank_ones_out() -> None:
    assert last_lines("a\n\nb  \n\n\nc\n", 2) == ["b", "c"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (127, "2:07 min"), (3723, "1:02:03 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_live_output_erases_what_it_drew_and_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    console = Console(stream, live=True, clock=lambda: 7.0)
    console.start("train", "PyTorch")
    console.tail("train", "Downloading " + "x" * 200)
    console.say("first")
    console.say("second")
    console.end("train", "✓")
    written = stream.getvalue()
    assert "\x1b[1A\x1b[Jsecond" in written
    assert max(len(line) for line in written.replace("\x1b[1A\x1b[J", "").splitlines()) < 40
    assert written.endswith("  ✓  train    PyTorch  0 s\n")


def _steps() -> tuple[Layout, list[Step]]:
    return plan(ROOT, Path("/usr/bin/python3"))


def test_every_input_of_every_step_is_in_the_project() -> None:
    _, steps = _steps()
    missing = [name for step in steps for name in step.inputs if not (ROOT / name).is_file()]
    assert missing == []


def test_select_brings_the_installer_along() -> None:
    _, steps = _steps()
    assert [step.name for step in cli.select(steps, ["vllm"]) if step.name != "go"] == [
        "uv",
        "vllm",
    ]


def test_a_group_has_its_own_steps_and_the_installer() -> None:
    _, steps = _steps()
    project = {step.name for step in cli.select(steps, [])}
    cluster = {step.name for step in cli.select(steps, [], "cluster")}
    assert {"uv", "infra", "pulumi"} <= project
    assert {"uv", "kube-apiserver", "kubelet", "crds"} <= cluster
    assert project & cluster <= {"uv", "go"}


def test_missing_space_says_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cli.shutil, "disk_usage", lambda _: usage(0, 0, 3 * 2**30))
    layout, steps = _steps()
    layout = replace(layout, root=tmp_path)
    message = cli.missing_space(layout, steps, tmp_path)
    assert message is not None
    assert f"{tmp_path} has 3.0 GiB free" in message
    assert cli.missing_space(layout, steps[:1], tmp_path) is None


def test_counts_of_a_report(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="1"/></testsuites>'
    )
    counts = read_counts(report)
    assert (counts.passed, counts.failed, counts.skipped) == (5, 3, 1)
    assert read_counts(tmp_path / "none.xml").passed == 0


def test_a_suite_without_own_files_is_empty(tmp_path: Path) -> None:
    suite = Suite("infra", ".venv", "tests", ("tests/serving",))
    (tmp_path / "tests" / "serving" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "serving" / "deep" / "test_a.py").touch()
    assert not has_tests(tmp_path, suite)
    (tmp_path / "tests" / "test_b.py").touch()
    assert has_tests(tmp_path, suite)
