"""`make up` on this machine: how long it takes, and that a second one and a source edit do nothing.

    .venv/bin/python -m benchmarks.local [--state DIR] [--keep]

Runs the whole pipeline into a new state directory (the local environment must be down: the ports
are the same), then again, then previews a flag edit and a source edit. The tools are installed
already; `make setup` alone is not part of it. The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from pulumi import automation as auto

from stacks.cli.project import Project
from stacks.config.load import EnvironmentStack
from stacks.engine import open_stack
from stacks.paths import ROOT, StateDirectory
from stacks.programs import environment as environment_program

ENVIRONMENT = "local"
EDITED_SOURCE = ROOT / "serving" / "router" / "server.py"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--state", type=Path, help="state directory to use (default: a new one, removed at the end)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the environment up at the end")
    arguments = parser.parse_args()
    given: Path | None = arguments.state
    directory = given or Path(tempfile.mkdtemp(prefix=".bench-", dir=ROOT))
    state = StateDirectory(directory.resolve())
    if (state.path / "backend").exists():
        parser.error(f"--state {directory}: holds an environment already; the first up must be one")
    try:
        print(json.dumps(measure(state)))
    finally:
        if not arguments.keep:
            _run(["down", ENVIRONMENT, "--all"], state)
            if given is None:
                shutil.rmtree(directory)


def measure(state: StateDirectory) -> dict[str, float | int]:
    """All figures; seconds, and numbers of resources."""
    up_s, _ = _timed_up(state)
    second_up_s, second_output = _timed_up(state)
    return {
        "up_s": round(up_s, 1),
        "second_up_s": round(second_up_s, 1),
        "second_up_changes": _changed_resources(second_output),
        "flag_edit_updates": _flag_edit_updates(state),
        "source_edit_updates": _source_edit_updates(state),
    }


def _timed_up(state: StateDirectory) -> tuple[float, str]:
    began = time.monotonic()
    output = _run(["up", ENVIRONMENT, "--all", "--demo-approvals"], state)
    return time.monotonic() - began, output


def _changed_resources(output: str) -> int:
    """Lines of the command's output that say that a resource changed."""
    return sum(line.strip()[:2] in {"+ ", "~ ", "- ", "± "} for line in output.splitlines())


def _flag_edit_updates(state: StateDirectory) -> int:
    """Updates that a preview shows when one flag of the engine changes."""
    project = Project(ROOT / "stacks", state)
    stack = project.environment(ENVIRONMENT)
    engine = stack.environment.engine
    edited = engine.model_copy(update={"max_num_seqs": engine.max_num_seqs - 1})
    changed = stack.environment.model_copy(update={"engine": edited})
    return _updates(EnvironmentStack(stack.name, changed), project)


def _source_edit_updates(state: StateDirectory) -> int:
    """Changes that a preview shows when a source file of the router is edited."""
    project = Project(ROOT / "stacks", state)
    original = EDITED_SOURCE.read_bytes()
    try:
        EDITED_SOURCE.write_bytes(original + b"\n# edited\n")
        return _updates(project.environment(ENVIRONMENT), project)
    finally:
        EDITED_SOURCE.write_bytes(original)


def _updates(stack: EnvironmentStack, project: Project) -> int:
    program = partial(environment_program.run, stack, state=project.state)
    config = project.load(stack.name)[1]
    engine_stack = open_stack(stack.name, program=program, config=config, state=project.state)
    summary = engine_stack.preview(refresh=True).change_summary
    # The keys are plain texts, whatever their type says.
    return sum(count for kind, count in summary.items() if auto.OpType(kind) != auto.OpType.SAME)


def _run(arguments: list[str], state: StateDirectory) -> str:
    command = [str(ROOT / ".venv" / "bin" / "pipeline"), *arguments]
    environment = {**os.environ, "PIPELINE_STATE_DIR": str(state.path)}
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE
    ) as process:
        for line in process.stdout or ():
            sys.stderr.write(line)
            lines.append(line)
    if process.returncode != 0:
        raise SystemExit(f"pipeline {' '.join(arguments)} failed")
    return "".join(lines)


if __name__ == "__main__":
    main()
