"""`pipeline approve`, `rollback` and `release`: what people decide about releases."""

import getpass
from typing import Annotated

import typer
from rich.console import Console

from registry import approvals, pointer
from registry.errors import NotFoundError
from registry.evaluation import read_evaluation
from registry.manifest import read_manifest
from registry.names import Version
from registry.store import ObjectStore, open_store
from stacks.cli.project import Project
from stacks.config.domain import TrainedDomain
from stacks.config.load import ConfigError

Stack = Annotated[str, typer.Argument(help="domain stack, such as local-bank-ledger")]
By = Annotated[str, typer.Option("--by", help="who decides")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(rollback)
    app.command()(release)


def approve(
    stack: Stack,
    *,
    reviewer: Annotated[str, typer.Option("--as", help="your name as a reviewer")],
    comment: Annotated[str, typer.Option(help="what you looked at")] = "",
    reject: Annotated[bool, typer.Option("--reject", help="reject instead; that is final")] = False,
) -> None:
    """Approve, or reject, the version that the stack wants to release."""
    domain, store = _open(stack)
    names = domain.gate.experts.names
    if names != "anyone" and reviewer not in names:
        raise ConfigError(f"{reviewer!r} is not a reviewer of {stack}: {', '.join(names)}")
    try:
        manifest = read_manifest(store, domain.name, domain.version)
        evaluation = read_evaluation(store, domain.name, domain.version)
    except NotFoundError:
        raise ConfigError(
            f"{domain.name} {domain.version} has not been evaluated yet: `pipeline up {stack}`"
        ) from None
    console = Console()
    for check in evaluation.checks:
        score = "" if check.score is None else f" {check.score:.2f}"
        line = f"  {check.name}: {check.status}{score} {check.reason}"
        console.print(line, highlight=False, markup=False)
    approvals.record(
        store,
        domain=domain.name,
        version=domain.version,
        bundle_digest=manifest.bundle_digest,
        reviewer=reviewer,
        verdict="reject" if reject else "approve",
        comment=comment,
    )
    verb = "rejected" if reject else "approved"
    console.print(f"{reviewer} {verb} {domain.name} {domain.version}. Next: pipeline up {stack}")


def rollback(
    stack: Stack,
    *,
    reason: Annotated[str, typer.Option(help="why; it is shown as long as the hold stands")],
    to: Annotated[str | None, typer.Option(help="version; default: the previous release")] = None,
    by: By = "",
) -> None:
    """Make an earlier release live again, and hold it there."""
    domain, store = _open(stack)
    moved = pointer.rollback(
        store,
        domain.name,
        to=Version.parse(to) if to else None,
        by=by or getpass.getuser(),
        reason=reason,
    )
    Console().print(
        f"{moved.domain}: {moved.live} is live and held; the router follows within seconds.\n"
        f"`pipeline up` leaves it there until `pipeline release {stack} --lift-hold`."
    )


def release(
    stack: Stack,
    *,
    lift: Annotated[bool, typer.Option("--lift-hold", help="remove the hold of a rollback")],
    reason: Annotated[str, typer.Option(help="why it may go on")] = "hold lifted",
    by: By = "",
) -> None:
    """Lift the hold of a rollback, so that the next `up` may release again."""
    domain, store = _open(stack)
    if not lift:
        raise ConfigError("nothing to do: use --lift-hold")
    moved = pointer.lift_hold(store, domain.name, by=by or getpass.getuser(), reason=reason)
    Console().print(
        f"{moved.domain}: the hold is lifted, {moved.live} is live. Next: pipeline up {stack}"
    )


def _open(stack: str) -> tuple[TrainedDomain, ObjectStore]:
    project = Project.default()
    loaded = project.domain(stack)
    domain = loaded.domain.trained
    if domain is None:
        raise ConfigError(
            f"{stack} trains nothing: base models answer for it, and it has no releases"
        )
    return domain, open_store(project.contract(loaded.environment).registry_uri)
