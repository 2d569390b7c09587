"""The runner with real child processes, and the stamps that decide what runs."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.setup import stamps
from tools.setup.console import Console
from tools.setup.model import Command, Layout, Step
from tools.setup.runner import Runner, SetupError
from tools.setup.stamps import State

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, python=Path(sys.executable), go=tmp_path / "go")


def _step(name: str = "thing", script: str = "echo made > out.txt", lane: str = "a") -> Step:
    return Step(
        name=name,
        title="a thing",
        lane=lane,
        inputs=("lock.txt",),
        outputs=("out.txt",),
        commands=(Command(("sh", "-c", script)),),
        project_gib=0.0,
        cache_gib=0.0,
    )


def _run(layout: Layout, *steps: Step) -> str:
    stream = io.StringIO()
    with Console(stream, live=False) as console:
        Runner(layout, console).run(steps)
    return stream.getvalue()


@pytest.fixture
def lock(layout: Layout) -> Path:
    path = layout.root / "lock.txt"
    path.write_text("package==1\n")
    return path


def test_a_step_is_current_until_an_input_a_command_or_an_output_changes(
    layout: Layout, lock: Path
) -> None:
    step = _step()
    assert stamps.state(layout, step) is State.MISSING
    _run(layout, step)
    assert stamps.state(layout, step) is State.CURRENT
    assert stamps.state(layout, _step(script="echo other > out.txt")) is State.STALE
    lock.write_text("package==2\n")
    assert stamps.state(layout, step) is State.STALE
    lock.write_text("package==1\n")
    assert stamps.state(layout, step) is State.CURRENT
    (layout.root / "out.txt").unlink()
    assert stamps.state(layout, step) is State.MISSING


def test_a_moved_project_is_set_up_again(layout: Layout, lock: Path, tmp_path: Path) -> None:
    step = _step()
    _run(layout, step)
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert stamps.state(replace(layout, root=moved), step) is State.STALE
    assert lock.parent == tmp_path


@pytest.mark.usefixtures("lock")
def test_an_interrupted_environment_is_made_from_scratch(layout: Layout) -> None:
    step = replace(
        _step(script="mkdir -p .venv-x; test ! -e .venv-x/half && touch .venv-x/done"),
        outputs=(".venv-x/done",),
    )
    stamps.begin(layout, step)
    (layout.root / ".venv-x").mkdir()
    (layout.root / ".venv-x" / "half").touch()
    assert stamps.state(layout, step) is State.BROKEN
    _run(layout, step)
    assert stamps.state(layout, step) is State.CURRENT


@pytest.mark.usefixtures("lock")
def test_a_failure_names_the_step_the_reason_and_the_log(layout: Layout) -> None:
    step = _step(script="echo 'curl: dial tcp 10.0.0.1: connection refused'; exit 3")
    with pytest.raises(SetupError) as caught:
        _run(layout, step)
    report = str(caught.value)
    assert "stopped at step `thing`: the command ended with exit code 3" in report
    assert "| curl: dial tcp 10.0.0.1: connection refused" in report
    assert str(layout.log("thing")) in report
    assert "check the network" in report
    assert stamps.state(layout, step) is State.BROKEN


@pytest.mark.usefixtures("lock")
def test_a_success_without_its_output_is_a_failure(layout: Layout) -> None:
    with pytest.raises(SetupError, match=r"out\.txt was not made"):
        _run(layout, _step(script="true"))


@pytest.mark.usefixtures("lock")
def test_a_failure_ends_the_other_lane_with_all_its_children(layout: Layout) -> None:
    slow = _step("slow", "sleep 600 & echo $! > child; wait", lane="b")
    bad = _step("bad", "while [ ! -s child ]; do sleep 0.05; done; exit 1")
    with pytest.raises(SetupError) as caught:
        _run(layout, bad, slow)
    assert "`bad`" in str(caught.value)
    assert "`slow`" not in str(caught.value)
    assert stamps.state(layout, slow) is State.BROKEN
    assert _ends(int((layout.root / "child").read_text()))


def test_an_unknown_step_is_refused_with_the_known_ones() -> None:
    run = subprocess.run(
        [sys.executable, "tools/bootstrap.py", "--check", "--only", "vlm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "--only vlm: no such step" in run.stderr
    assert "vllm" in run.stderr


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return False
