"""The command line of the set-up."""

import argparse
import contextlib
import fcntl
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.setup import node_packages, stamps
from tools.setup.console import Console, format_seconds
from tools.setup.model import GROUPS, Group, Layout, Step
from tools.setup.runner import Runner, SetupError
from tools.setup.stamps import State
from tools.setup.steps import plan

_MARKS = {State.CURRENT: "✓", State.MISSING: "·", State.STALE: "~", State.BROKEN: "!"}


class _UsageError(Exception):
    """What the user asked for cannot be done."""


def select(steps: Sequence[Step], only: Sequence[str], group: Group = "project") -> list[Step]:
    """Return the steps of a group, or the named ones with the installer that environments need.

    Raises:
        _UsageError: when a name is none of the steps'.
    """
    known = {step.name for step in steps}
    unknown = sorted(set(only) - known)
    if unknown:
        allowed = ", ".join(step.name for step in steps)
        raise _UsageError(f"--only {unknown[0]}: no such step; the steps are {allowed}")
    if not only:
        only = [step.name for step in steps if step.group == group]
    wanted = {*only, "uv"} | ({"go"} & known)
    return [step for step in steps if step.name in wanted]


def missing_space(layout: Layout, steps: Sequence[Step], home: Path) -> str | None:
    """Say which file system lacks room for the steps, or None."""
    project = sum(step.project_gib for step in steps)
    caches = sum(step.cache_gib for step in steps)
    if layout.root.stat().st_dev == home.stat().st_dev:
        # Environments share their files with the package cache there.
        needs = {layout.root: sum(max(s.project_gib, s.cache_gib) for s in steps)}
    else:
        needs = {layout.root: project, home: caches}
    for folder, need in needs.items():
        free = shutil.disk_usage(folder).free / 2**30
        if free < need:
            return (
                f"{folder} has {free:.1f} GiB free and the set-up takes up to {need:.1f} GiB: "
                "free some space, or clone the project on a larger disk"
            )
    return None


def _check(layout: Layout, steps: Sequence[Step]) -> int:
    states = {step.name: stamps.state(layout, step) for step in steps}
    for step in steps:
        found = states[step.name]
        print(f"  {_MARKS[found]}  {step.name:<8} {found.value:<12} {step.title}")
    return 0 if set(states.values()) == {State.CURRENT} else 1


def _interpreter() -> Path:
    """Return the interpreter under any environment that is active now, which may go away."""
    base = Path(sys.base_prefix) / "bin" / "python3.11"
    return base if base.exists() else Path(sys.executable)


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Hold the set-up's lock, so that two set-ups do not work in one folder."""
    layout.tools.mkdir(exist_ok=True)
    with (layout.tools / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up runs in this folder; waiting for it to end.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_up(layout: Layout, steps: Sequence[Step]) -> None:
    started = time.monotonic()
    todo = [step for step in steps if stamps.state(layout, step) is not State.CURRENT]
    if not todo:
        return
    shortage = missing_space(layout, todo, Path.home())
    if shortage:
        raise _UsageError(shortage)
    free = shutil.disk_usage(layout.root).free / 2**30
    print(
        f"Setting up {len(todo)} of {len(steps)} parts ({free:.0f} GiB free); logs in .tools/logs/"
    )
    with Console() as console:
        runner = Runner(layout, console)
        # The installer (and the compiler) come first: both lanes need them.
        first = [step for step in todo if step.name in {"uv", "go"}]
        runner.run(first)
        runner.run([step for step in todo if step not in first])
    print(f"Everything is set up, in {format_seconds(time.monotonic() - started)}.")


def main(arguments: Sequence[str], root: Path) -> int:
    """Set up, or check the set-up; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="bootstrap.py", description="Set up everything the project needs on this machine."
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these steps")
    parser.add_argument(
        "--group", choices=GROUPS, default="project", help="all steps of a group (default: project)"
    )
    parser.add_argument("--check", action="store_true", help="say what is set up; change nothing")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        layout, steps = plan(root, _interpreter())
        chosen = select(steps, options.only, options.group)
        if options.check:
            return _check(layout, chosen)
        with _alone(layout):
            _set_up(layout, chosen)
        if options.group == "cluster" and node_packages.missing():
            print(node_packages.advice())
    except _UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next run goes on from here.", file=sys.stderr)
        return 130
    return 0
