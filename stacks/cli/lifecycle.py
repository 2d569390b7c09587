"""`pipeline up`, `preview` and `down`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from pulumi import automation as auto
from rich.console import Console

from registry import approvals
from registry.manifest import read_manifest
from registry.store import open_store
from stacks import job_specs
from stacks.cli import report
from stacks.cli.display import Display
from stacks.cli.preflight import require_space
from stacks.cli.project import Project
from stacks.config.domain import TrainedDomain
from stacks.config.load import ConfigError, DomainStack, EnvironmentStack, list_stacks
from stacks.driver import Driver, Release, ReleaseError
from stacks.engine import list_existing, open_stack, when_free
from stacks.programs import environment as environment_program
from substrates.local.supervisor import Supervisor

Stack = Annotated[str, typer.Argument(help="stack, such as local or local-bank-ledger")]
All = Annotated[bool, typer.Option("--all", help="the environment and all its domain stacks")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(preview)
    app.command()(down)


def up(
    stack: Stack,
    *,
    everything: All = False,
    once: Annotated[
        bool, typer.Option("--once", help="one engine run; do not wait for submitted jobs")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="give failed jobs another attempt")
    ] = False,
    demo_approvals: Annotated[
        bool,
        typer.Option("--demo-approvals", help="approve as the demo reviewers of the stack files"),
    ] = False,
) -> None:
    """Bring a stack up, and a domain stack on until its release rests."""
    console, project = Console(), Project.default()
    loaded, _ = project.load(stack)
    stacks: list[EnvironmentStack | DomainStack] = [loaded]
    if everything:
        stacks = [project.environment(stack), *project.domains(stack)]
    require_space(project.state)
    runner = Runner(console, project, demo_approvals=demo_approvals)
    for each in stacks:
        console.rule(f"[bold]{each.name}", align="left", style="dim")
        if isinstance(each, EnvironmentStack):
            runner.up_environment(each)
        else:
            runner.up_domain(each, once=once, retry=retry)
    if everything:
        report.print_report(console, project, project.environment(stack))
    if runner.unsuccessful:
        raise ReleaseError("; ".join(runner.unsuccessful))


def preview(
    stack: Stack,
    *,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="look at what is really there first")
    ] = False,
) -> None:
    """Show what `up` would change, and which jobs would run."""
    console, project = Console(), Project.default()
    runner = Runner(console, project, demo_approvals=False)
    runner.preview(stack, refresh=refresh)


def down(stack: Stack, *, everything: All = False) -> None:
    """Stop and remove a stack. Registry, ledger and models stay."""
    console, project = Console(), Project.default()
    existing = list_existing(project.state)
    if stack not in existing and stack not in list_stacks(project.stacks):
        raise ConfigError(f"no stack {stack!r}; there are: {', '.join(existing) or 'none'}")
    runner = Runner(console, project, demo_approvals=False)
    # What the engine knows counts, not the stack files: one that is broken or gone stops nothing.
    domains = [name for name in existing if name.startswith(f"{stack}-")]
    if domains and not everything:
        raise ConfigError(
            f"domain stacks of {stack!r} are up: {', '.join(domains)}; "
            "take them down first, or use --all"
        )
    for name in (*domains, stack):
        runner.destroy(name)
    if "-" not in stack:
        Supervisor(project.state.home(stack)).shutdown()


class Runner:
    """Runs stacks and shows it."""

    def __init__(self, console: Console, project: Project, *, demo_approvals: bool) -> None:
        """Work on the project's stacks."""
        self._console = console
        self._project = project
        self._demo_approvals = demo_approvals
        self._display = Display(console)
        self._driver = Driver(project.state, jobs=job_specs.jobs, observer=self._display)
        self.unsuccessful: list[str] = []
        """Releases that ended in a state that needs a person."""

    def up_environment(self, stack: EnvironmentStack) -> None:
        """Bring an environment up."""
        engine_stack = self._open(stack)
        with self._shown():
            observe = partial(self._display.engine, stack.name)
            operation = partial(engine_stack.up, refresh=True, on_event=observe)
            result = when_free(operation, stack.name, self._project.state)
        changes = result.summary.resource_changes or {}
        count = sum(number for kind, number in changes.items() if kind != "same")
        self._console.print(f"  {stack.name}: {count} changes", highlight=False)

    def up_domain(self, stack: DomainStack, *, once: bool, retry: bool) -> None:
        """Bring a domain up until its release rests."""
        config = self._project.load(stack.name)[1]
        run = self._driver.up_once if once else self._driver.up
        with self._shown():
            release = run(stack, config, retry=retry)
            trained = stack.domain.trained
            if trained and self._demo_approvals and release.state == "evaluated":
                self._approve(trained, stack.environment)
                release = run(stack, config)
        self._judge(release)

    def preview(self, name: str, *, refresh: bool) -> None:
        """Show what `up` would do."""
        loaded, config = self._project.load(name)
        engine_stack = (
            self._open(loaded)
            if isinstance(loaded, EnvironmentStack)
            else self._driver.open_domain(loaded, config)
        )
        with self._shown():
            engine_stack.preview(
                diff=True,
                refresh=refresh,
                color="always" if self._console.is_terminal else "never",
                on_output=_print_line,
                on_event=self._errors_only(name),
            )

    def destroy(self, name: str) -> None:
        """Remove a stack and its state."""
        if name not in list_existing(self._project.state):
            self._console.print(f"{name} is not up")
            return
        self._console.rule(f"[bold]{name}", align="left", style="dim")
        engine_stack = open_stack(name, program=_nothing, config=None, state=self._project.state)
        with self._shown():
            engine_stack.destroy(on_event=partial(self._display.engine, name))
            engine_stack.workspace.remove_stack(name)

    def _open(self, stack: EnvironmentStack) -> auto.Stack:
        config = self._project.load(stack.name)[1]
        program = partial(environment_program.run, stack, state=self._project.state)
        return open_stack(stack.name, program=program, config=config, state=self._project.state)

    def _approve(self, domain: TrainedDomain, environment: str) -> None:
        store = open_store(self._project.contract(environment).registry_uri)
        manifest = read_manifest(store, domain.name, domain.version)
        for reviewer in domain.gate.experts.demo:
            approvals.record(
                store,
                domain=domain.name,
                version=domain.version,
                bundle_digest=manifest.bundle_digest,
                reviewer=reviewer,
                verdict="approve",
                comment="demonstration: nobody looked at this adapter",
            )
            self._console.print(f"  approved by {reviewer} (demonstration)", highlight=False)

    def _judge(self, release: Release) -> None:
        if release.state in {"failed", "rejected"}:
            self.unsuccessful.append(f"{release.domain} {release.version} {release.state}")

    def _errors_only(self, name: str) -> Any:
        def on_event(event: auto.EngineEvent) -> None:
            if event.diagnostic_event is not None:
                self._display.engine(name, event)

        return on_event

    @contextmanager
    def _shown(self) -> Iterator[None]:
        try:
            yield
        except auto.ConcurrentUpdateError:
            raise
        except auto.CommandError as error:
            messages = list(dict.fromkeys(self._display.errors)) or [str(error)]
            raise ReleaseError("\n".join(messages)) from error
        finally:
            self._display.stop()


def _print_line(line: str) -> None:
    if "pulumi-resource-pipeline from $PATH" not in line:
        typer.echo(line)


def _nothing() -> None:
    """Destroying needs no program."""
