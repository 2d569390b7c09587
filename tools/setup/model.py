"""What a set-up step is: data that names its inputs, outputs and commands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Group = Literal["project", "cluster"]
"""`project` runs and tests the pipeline on this machine; `cluster` adds a Kubernetes of its own."""
GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True)
class Command:
    """One child process of a step.

    Attributes:
        argv: The argument list; `uv` and `go` are found on the PATH that the layout gives.
        cwd: Working directory, relative to the project root.
    """

    argv: tuple[str, ...]
    cwd: str = "."


@dataclass(frozen=True)
class Step:
    """One thing to set up; it is redone when the content of an input or a command changes.

    Attributes:
        name: What `--only` takes.
        title: What the user reads beside the name.
        lane: Steps of one lane run one after the other; lanes run side by side.
        inputs: Files whose content decides, relative to the project root.
        outputs: Paths that must exist for the step to count as done.
        commands: Run in order; the first that fails ends the step.
        project_gib: Disk space that it takes in the project folder.
        cache_gib: Disk space that it takes in the caches under the home folder.
        group: What it is set up for; only the group that is asked for is set up.
    """

    name: str
    title: str
    lane: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    commands: tuple[Command, ...]
    project_gib: float
    cache_gib: float
    group: Group = "project"


@dataclass(frozen=True)
class Layout:
    """Where things lie.

    Attributes:
        root: The project folder, absolute.
        python: The interpreter that environments are made from.
        go: The folder of the `go` command that builds use.
    """

    root: Path
    python: Path
    go: Path

    @property
    def tools(self) -> Path:
        """The folder of everything that set-up makes, besides the environments."""
        return self.root / ".tools"

    def log(self, name: str) -> Path:
        """The log file of the named step."""
        return self.tools / "logs" / f"{name}.log"
