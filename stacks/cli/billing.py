"""`pipeline bill`: bills, the close of a month, credit notes."""

import csv
import datetime as dt
import getpass
import subprocess
import sys
from dataclasses import asdict, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from registry.documents import decode
from registry.store import ObjectStore, open_store
from serving.billing.books import Books
from serving.billing.closed import AcceptedLoss
from serving.billing.command import (
    ATTENTION_STATUS,
    BillFormat,
    needs_person,
    print_statement,
    write_statement,
)
from serving.billing.credits import order_credit
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights
from serving.billing.money import plain
from serving.billing.months import month_of
from serving.billing.open_month import days_in
from serving.billing.part_events import BilledRequest
from serving.billing.prices import read_prices
from serving.billing.runs import collect_runs
from serving.billing.warehouse_days import WarehouseDays
from serving.pod_reports.no_gpus import report_no_gpus
from serving.warehouse.files import open_warehouse
from stacks.cli.project import Project
from stacks.config.load import ConfigError
from stacks.local_workloads import ADAPTER_POOL, engine_pod
from stacks.paths import ROOT
from substrates.local.substrate import LocalSubstrate

Environment = Annotated[str, typer.Option("--environment", "-e", help="environment stack")]
Month = Annotated[str, typer.Option("--month", help="YYYY-MM, in UTC")]
_SHIPPING_ATTEMPTS = 3

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="bill")


@app.callback(invoke_without_command=True)
def bill(
    context: typer.Context,
    *,
    month: Annotated[
        str | None, typer.Option("--month", help="YYYY-MM, in UTC; default: this month")
    ] = None,
    form: Annotated[BillFormat, typer.Option("--format", help="how to write it")] = (
        BillFormat.TABLE
    ),
    out: Annotated[
        Path | None, typer.Option("--out", help="folder to write files to, instead of printing")
    ] = None,
    environment: Environment = "local",
) -> None:
    """Print the bill of a month, made from the ledger; close months and correct them.

    Exit status 3: the bill is made and a person must look at it, because something is not billed
    (see its attention) or a request that began more than an hour ago has no end.
    """
    if context.invoked_subcommand is not None:
        return
    console = Console()
    shipped = _ship(environment)
    books = _books(environment)
    _report_engine(environment, books.store)
    _collect_runs(environment, books)
    statement = books.statement(month or month_of(books.now.date()))
    if out is None:
        print_statement(statement, form, console)
    else:
        for path in write_statement(statement, form, out):
            typer.echo(path)
    if not shipped or needs_person(statement, books.now):
        raise typer.Exit(ATTENTION_STATUS)


@app.command()
def close(
    *,
    month: Month,
    accept_lost: Annotated[
        list[str] | None,
        typer.Option(metavar="WRITER:LEDGER_ID", help="a ledger that is lost for good"),
    ] = None,
    reason: Annotated[str, typer.Option(help="why it is given up; is kept")] = "",
    environment: Environment = "local",
) -> None:
    """Close a month: its invoices never change again.

    A month closes a day after its end, when every router has shipped past it, in the order of the
    months. What arrives later is billed in the next open month.
    """
    accepted = tuple(_loss(name, reason) for name in accept_lost or ())
    shipped = _ship(environment)
    books = _books(environment)
    _report_engine(environment, books.store)
    _collect_runs(environment, books)
    closed = books.close(month, accepted=accepted)
    statement = closed.statement
    Console().print(
        f"closed {month}: {len(statement.invoices)} invoices, {plain(statement.total_due)} "
        f"{statement.currency}, {closed.digest}",
        highlight=False,
        soft_wrap=True,
    )
    if not shipped or needs_person(statement, books.now):
        raise typer.Exit(ATTENTION_STATUS)


@app.command()
def credit(
    *,
    month: Annotated[str, typer.Option("--month", help="closed month to correct, YYYY-MM")],
    customer: Annotated[str, typer.Option(help="who gets it")],
    amount: Annotated[str, typer.Option(help="in the currency of the prices, such as 12.50")],
    reason: Annotated[str, typer.Option(help="what the customer reads on the invoice")],
    by: Annotated[str | None, typer.Option("--by", help="who decides; default: you")] = None,
    environment: Environment = "local",
) -> None:
    """Write a credit note for a closed month; it is on the next open month's invoice."""
    books = _books(environment)
    note, appears_in = books.credit(
        order_credit(
            customer=customer,
            amount=_amount(amount),
            month=month,
            reason=reason,
            by=by or getpass.getuser(),
            date=books.now.date(),
        )
    )
    Console().print(
        f"credit note {note.id}: {plain(note.amount)} {books.prices.currency} for {customer}, on "
        f"the invoice of {appears_in}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def verify(*, environment: Environment = "local") -> None:
    """Prove that the closed months are what was written, and that none is missing."""
    for closed in _books(environment).verify():
        typer.echo(f"{closed.month} {closed.digest} {plain(closed.statement.total_due)}")


@app.command()
def requests(
    *,
    month: Month,
    customer: Annotated[str, typer.Option(help="whose lines")],
    domain: Annotated[str | None, typer.Option(help="of this domain only")] = None,
    adapter: Annotated[str | None, typer.Option(help="of this served model only")] = None,
    environment: Environment = "local",
) -> None:
    """List the requests behind a customer's lines as CSV; a request id is also its trace id."""
    books = _books(environment)
    days = _days(environment)
    writer = csv.DictWriter(
        sys.stdout, [field.name for field in fields(BilledRequest)], lineterminator="\n"
    )
    writer.writeheader()
    for part in books.billed_parts(month):
        found = days.requests(part, customer=customer, domain=domain, served_model=adapter)
        writer.writerows(asdict(request) for request in found)


def _books(environment: str) -> Books:
    days = _days(environment)
    return Books(
        environment=environment,
        store=days.warehouse.store,
        parts=days,
        prices=read_prices(Project.default().stacks / "prices.yaml"),
        now=dt.datetime.now(dt.UTC),
    )


def _days(environment: str) -> WarehouseDays:
    project = Project.default()
    project.environment(environment)
    home = project.state.home(environment)
    folder = home / "warehouse"
    if not folder.is_dir():
        raise ConfigError(f"{environment!r} has no warehouse yet: `pipeline up {environment}`")
    return WarehouseDays(open_warehouse(folder.as_uri(), home / "billing"), _weights(project))


def _weights(project: Project) -> GpuWeights:
    path = project.stacks / "gpu-weights.json"
    return decode(path.read_bytes(), GpuWeights, str(path)) if path.is_file() else UNCALIBRATED


def _ship(environment: str) -> bool:
    """Ship what the ledger holds by now; whether all of it is shipped."""
    home = Project.default().state.home(environment)
    substrate = LocalSubstrate(root=ROOT, home=home)
    config = Path(substrate.file("shipper", "config.json"))
    if not config.is_file():
        raise ConfigError(f"{environment!r} has no shipper yet: `pipeline up {environment}`")
    command = [substrate.python("serving"), "-m", "serving.ledger.shipping"]
    # The environment's own shipper may move the ledger's progress at the same moment.
    for _ in range(_SHIPPING_ATTEMPTS):
        shipped = subprocess.run(
            [*command, "--config", str(config), "--once"],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        if shipped.returncode == 0:
            return True
    sys.stderr.write(f"{shipped.stderr}The bill may lack what was not shipped.\n")
    return False


def _report_engine(environment: str, warehouse: ObjectStore) -> None:
    """Report the engine for every day that it answered in: it runs on CPUs, so it held no GPUs."""
    for day in sorted(days_in(warehouse, "events/") - days_in(warehouse, "pods/")):
        report_no_gpus(warehouse, day, engine_pod(environment), ADAPTER_POOL)


def _collect_runs(environment: str, books: Books) -> None:
    """Write down the GPU time of jobs that ended."""
    project = Project.default()
    registry = open_store(project.state.registry_uri)
    for stack in project.domains(environment):
        domain = stack.domain
        collect_runs(registry, books.store, domain=domain.name, customer=domain.customer)


def _loss(name: str, reason: str) -> AcceptedLoss:
    writer, separator, ledger_id = name.rpartition(":")
    if not separator or not writer or not ledger_id:
        raise ConfigError(f"--accept-lost {name!r}: write it as WRITER:LEDGER_ID")
    if not reason.strip():
        raise ConfigError(f"--accept-lost {name}: give a --reason, which is kept")
    return AcceptedLoss(writer, ledger_id, reason.strip())


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ConfigError(f"--amount {text!r}: write a decimal number, such as 12.50") from None
