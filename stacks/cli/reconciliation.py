"""`pipeline reconcile`: compare the ledger with what others counted."""

from typing import Annotated

import typer
from rich.console import Console

from serving.reconciliation.command import NOT_COMPARED, ReportFormat, print_reconciliation
from serving.reconciliation.errors import ReconciliationError
from stacks.cli.options import Environment
from stacks.cli.project import Project
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT
from substrates.local.substrate import LocalSubstrate


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reconcile)


def reconcile(
    *,
    began: Annotated[
        str | None, typer.Option("--from", help="begin, such as 2026-11-25T00:00:00Z")
    ] = None,
    ended: Annotated[
        str | None, typer.Option("--to", help="end; both default to the last whole UTC day")
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="how to write it")] = (
        ReportFormat.TABLE
    ),
    environment: Environment = "local",
) -> None:
    """Compare the ledger with model servers and traces; exit status 4 when a difference is unknown.

    Exit status 2: nothing could be compared.
    """
    project = Project.default()
    stack = project.environment(environment)
    substrate = LocalSubstrate(root=ROOT, home=project.state.home(stack.name))
    config = LocalWorkloads(stack.environment, project.state, substrate).reconciliation
    try:
        code = print_reconciliation(config, began, ended, form, Console())
    except ReconciliationError as error:
        Console(stderr=True).print(
            f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        code = NOT_COMPARED
    raise typer.Exit(code)
