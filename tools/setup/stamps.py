"""Remembers which steps are done, by a digest of what went into them."""

import hashlib
import json
import platform
import shutil
from enum import Enum
from pathlib import Path

from tools.setup.model import Layout, Step


class State(Enum):
    """How far a step is."""

    CURRENT = "up to date"
    MISSING = "not set up"
    STALE = "out of date"
    BROKEN = "interrupted"


def digest(layout: Layout, step: Step) -> str:
    """Return the sha256 of all that decides a step's result.

    The project folder counts too: environments carry its absolute path and break when it moves.

    Raises:
        FileNotFoundError: when an input file does not exist.
    """
    recipe = {
        "root": str(layout.root),
        "python": platform.python_version_tuple()[:2],
        "commands": [[command.cwd, *command.argv] for command in step.commands],
        "inputs": {
            name: hashlib.sha256((layout.root / name).read_bytes()).hexdigest()
            for name in step.inputs
        },
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def state(layout: Layout, step: Step) -> State:
    """Say whether a step has to run."""
    if _marker(layout, step).exists():
        return State.BROKEN
    stamp = _stamp(layout, step)
    present = all((layout.root / output).exists() for output in step.outputs)
    if not stamp.exists() or not present:
        return State.MISSING
    return State.CURRENT if stamp.read_text() == digest(layout, step) else State.STALE


def begin(layout: Layout, step: Step) -> None:
    """Note that a step runs; what an interrupted run left is removed first.

    A package manager that was killed half-way may take a half-copied package for an installed one.
    """
    marker = _marker(layout, step)
    if marker.exists():
        for output in step.outputs:
            _remove(layout.root / Path(output).parts[0], layout.root / output)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    _stamp(layout, step).unlink(missing_ok=True)


def finish(layout: Layout, step: Step) -> None:
    """Note that a step is done.

    Raises:
        FileNotFoundError: when an output is missing although each command succeeded.
    """
    for output in step.outputs:
        if not (layout.root / output).exists():
            raise FileNotFoundError(f"{output} was not made")
    _stamp(layout, step).write_text(digest(layout, step))
    _marker(layout, step).unlink()


def _remove(top: Path, output: Path) -> None:
    if top.name.startswith(".venv"):
        shutil.rmtree(top, ignore_errors=True)
    else:
        output.unlink(missing_ok=True)


def _stamp(layout: Layout, step: Step) -> Path:
    return layout.tools / "stamps" / step.name


def _marker(layout: Layout, step: Step) -> Path:
    return layout.tools / "stamps" / f"{step.name}.running"
