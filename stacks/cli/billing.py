"""`pipeline bill`: bills, the close of a month, notes on closed ones."""

import datetime as dt
import getpass
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from registry.documents import decode
from registry.store import open_store
from serving.billing import tasks
from serving.billing.closed import AcceptedLoss
from serving.billing.command import ATTENTION_STATUS, BillFormat
from serving.billing.config import BillingConfig
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights
from serving.billing.notes import order_note
from serving.billing.reported import ReportedDays
from serving.billing.unbilled import AcceptedUnbilled
from serving.pod_reports.no_gpus import report_no_gpus
from serving.warehouse import layout
from stacks.cli.options import Environment
from stacks.cli.project import Project
from stacks.config.load import ConfigError
from stacks.local_workloads import ADAPTER_POOL, engine_pod
from stacks.paths import ROOT
from substrates.local.substrate import LocalSubstrate

Month = Annotated[str, typer.Option("--month", help="YYYY-MM, in UTC")]
Corrected = Annotated[str, typer.Option("--month", help="closed month to correct, YYYY-MM")]
Customer = Annotated[str, typer.Option("--customer", help="whose invoice")]
Amount = Annotated[
    str, typer.Option("--amount", help="in the currency of the prices, such as 12.50")
]
Reason = Annotated[str, typer.Option("--reason", help="what the customer reads on the invoice")]
By = Annotated[str | None, typer.Option("--by", help="who decides; default: you")]
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
    shipped = _ship(environment)
    config = _config(environment)
    _report_engine(config)
    status = tasks.bill(config, _now(), month=month, form=form, out=out)
    _end(status if shipped else ATTENTION_STATUS)


@app.command()
def close(
    *,
    month: Month,
    accept_lost: Annotated[
        list[str] | None,
        typer.Option(metavar="WRITER:LEDGER_ID", help="a ledger that is lost for good"),
    ] = None,
    accept_unbilled: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND:WHERE", help="an attention that stays unbilled for good"),
    ] = None,
    reason: Annotated[str, typer.Option(help="why it is given up; is kept")] = "",
    environment: Environment = "local",
) -> None:
    """Close a month: its invoices never change again.

    A month closes a day after its end, when every router has shipped past it, in the order of the
    months. What arrives later is billed in the next open month. What is named as unbilled and could
    still be put right (an unknown customer, days without a price, a file that is gone or cannot be
    read) keeps the month open, unless it is accepted.
    """
    accepted = [AcceptedLoss.named(name, reason) for name in accept_lost or ()]
    unbilled = [AcceptedUnbilled.named(name, reason) for name in accept_unbilled or ()]
    shipped = _ship(environment)
    config = _config(environment)
    _report_engine(config)
    status = tasks.close(config, _now(), month=month, accepted=accepted, unbilled=unbilled)
    _end(status if shipped else ATTENTION_STATUS)


@app.command()
def credit(
    *,
    month: Corrected,
    customer: Customer,
    amount: Amount,
    reason: Reason,
    by: By = None,
    environment: Environment = "local",
) -> None:
    """Take an amount off a closed month; the credit note is on the next open month's invoice."""
    _note("credit", environment, month, customer, amount, reason, by)


@app.command()
def debit(
    *,
    month: Corrected,
    customer: Customer,
    amount: Amount,
    reason: Reason,
    by: By = None,
    environment: Environment = "local",
) -> None:
    """Add an amount to a closed month; the debit note is on the next open month's invoice."""
    _note("debit", environment, month, customer, amount, reason, by)


@app.command()
def verify(*, environment: Environment = "local") -> None:
    """Prove that the closed months are what was written, and that none is missing."""
    tasks.verify(_config(environment), _now())


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
    tasks.requests(
        _config(environment),
        _now(),
        month=month,
        customer=customer,
        domain=domain,
        served_model=adapter,
    )


def _note(
    kind: str,
    environment: str,
    month: str,
    customer: str,
    amount: str,
    reason: str,
    by: str | None,
) -> None:
    now = _now()
    order = order_note(
        kind=kind,
        customer=customer,
        amount=amount,
        month=month,
        reason=reason,
        by=by or getpass.getuser(),
        date=now.date(),
    )
    tasks.note(_config(environment), now, order)


def _config(environment: str) -> BillingConfig:
    project = Project.default()
    project.environment(environment)
    home = project.state.home(environment)
    warehouse = home / "warehouse"
    if not warehouse.is_dir():
        raise ConfigError(f"{environment!r} has no warehouse yet: `pipeline up {environment}`")
    return BillingConfig(
        environment=environment,
        warehouse_uri=warehouse.as_uri(),
        registry_uri=project.state.registry_uri,
        customers={each.domain.name: each.domain.customer for each in project.domains(environment)},
        prices=project.stacks / "prices.yaml",
        weights=_weights(project),
        cache=home / "billing",
    )


def _weights(project: Project) -> GpuWeights:
    path = project.stacks / "gpu-weights.json"
    return decode(path.read_bytes(), GpuWeights, str(path)) if path.is_file() else UNCALIBRATED


def _report_engine(config: BillingConfig) -> None:
    """Report the engine for every day that it answered in: it runs on CPUs, so it held no GPUs."""
    warehouse = open_store(config.warehouse_uri)
    reported = ReportedDays.of([*warehouse.list(layout.EVENTS), *warehouse.list(layout.PODS)])
    for day in sorted(reported.by_folder[layout.EVENTS] - reported.by_folder[layout.PODS]):
        report_no_gpus(warehouse, day, engine_pod(config.environment), ADAPTER_POOL)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _end(status: int) -> None:
    if status:
        raise typer.Exit(status)


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
