"""What the terminal shows while something takes time.

On a terminal one live line tells what is under way; elsewhere the same events are plain lines.
"""

import re
import time
from collections.abc import Iterable

from pulumi import automation as auto
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.status import Status

from registry.runs import RunStatus
from stacks.driver import Release
from stacks.programs.domain import BASE

_VERBS = {
    "create": ("creating", "[green]+[/]"),
    "update": ("updating", "[yellow]~[/]"),
    "delete": ("deleting", "[red]-[/]"),
    "replace": ("replacing", "[yellow]±[/]"),
    "create-replacement": ("replacing", "[yellow]±[/]"),
    "delete-replaced": ("deleting", "[red]-[/]"),
}
_QUIET_LINES_S = 10.0
# gRPC puts the class of a provider's exception before its message.
_PYTHON_CLASS = re.compile(r"^Unexpected <class '[^']+'>: ")
# The engine says on each run that the project's own plugin comes from PATH, as it should.
_EXPECTED = "using pulumi-resource-pipeline from $PATH"


class Display:
    """Prints engine events, release states and the progress of jobs."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._started: dict[str, float] = {}
        self._status: Status | None = None
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._last_line = 0.0
        self.errors: list[str] = []
        """Error messages of the engine, in order."""

    def engine(self, stack: str, event: auto.EngineEvent) -> None:
        """One event of the engine."""
        if event.resource_pre_event is not None:
            metadata = event.resource_pre_event.metadata
            self._begin(metadata.op, metadata.urn)
        elif event.res_outputs_event is not None:
            metadata = event.res_outputs_event.metadata
            self._end(metadata.op, metadata.urn)
        elif event.diagnostic_event is not None:
            self._diagnose(stack, event.diagnostic_event)

    def released(self, release: Release) -> None:
        """An `up` of a domain stack ended."""
        self.stop()
        colour = "green" if release.state in {"live", BASE} else "cyan"
        detail = f": {escape(release.message)}" if release.message else ""
        what = f"{release.domain} {release.version or ''}".rstrip()
        self._console.print(
            f"  [bold]{what}[/]: [{colour}]{release.state}[/]{detail}",
            highlight=False,
        )

    def progress(self, domain: str, statuses: Iterable[RunStatus]) -> None:
        """Where the pending runs are."""
        if self._console.is_terminal:
            self._show_bars(domain, statuses)
            return
        if time.monotonic() - self._last_line >= _QUIET_LINES_S:
            self._last_line = time.monotonic()
            for status in statuses:
                self._console.print(f"  {domain} {escape(_described(status))}", highlight=False)

    def stop(self) -> None:
        """End every live line."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._bars = {}

    def _begin(self, operation: str, urn: str) -> None:
        if operation not in _VERBS or not _is_workload(urn):
            return
        self._started[urn] = time.monotonic()
        verb = _VERBS[operation][0]
        text = ", ".join(sorted(_name(each) for each in self._started))
        if not self._console.is_terminal:
            self._console.print(f"  {verb} {_name(urn)} …", highlight=False)
        elif self._status is None:
            self._status = self._console.status(f"{verb} {text}")
            self._status.start()
        else:
            self._status.update(f"{verb} {text}")

    def _end(self, operation: str, urn: str) -> None:
        started = self._started.pop(urn, None)
        if started is None:
            return
        seconds = time.monotonic() - started
        mark = _VERBS[operation][1]
        self._console.print(f"  {mark} {_name(urn)} [dim]{seconds:.1f} s[/]", highlight=False)
        if self._status is not None:
            rest = ", ".join(sorted(_name(each) for each in self._started))
            self._status.update(f"working on {rest}" if rest else "working")

    def _diagnose(self, stack: str, diagnostic: auto.DiagnosticEvent) -> None:
        message = diagnostic.message.strip()
        if diagnostic.severity == "error" and message != "update failed":
            self.errors.append(_PYTHON_CLASS.sub("", message.removeprefix("error: ")))
        elif diagnostic.severity == "warning" and _EXPECTED not in message:
            self._console.print(f"  [yellow]{stack}: {escape(message)}[/]", highlight=False)

    def _show_bars(self, domain: str, statuses: Iterable[RunStatus]) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._progress is None:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        for status in statuses:
            if status.run_id not in self._bars:
                bar = self._progress.add_task(f"{domain} {status.run_id}", detail="")
                self._bars[status.run_id] = bar
            self._progress.update(
                self._bars[status.run_id],
                total=status.total or None,
                completed=status.step,
                detail=escape(_detail(status)),
            )


def _described(status: RunStatus) -> str:
    steps = f"{status.step}/{status.total} " if status.total else ""
    return f"{status.run_id} {steps}{_detail(status)}".rstrip()


def _detail(status: RunStatus) -> str:
    parts = [status.message] if status.message else []
    if status.loss is not None:
        parts.append(f"loss {status.loss:.3f}")
    if status.eta_s is not None:
        parts.append(f"{status.eta_s:.0f} s left")
    return ", ".join(parts)


def _is_workload(urn: str) -> bool:
    return "pipeline:local:" in urn.split("::")[2].rpartition("$")[2]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
