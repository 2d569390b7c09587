"""`pipeline dashboards`: dashboards and alert rules for a Grafana and Prometheus of your own."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from observability import export
from serving.billing.errors import BillingError
from serving.billing.prices import read_prices
from stacks.config.load import ConfigError
from stacks.paths import ROOT


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dashboards)


def dashboards(
    *,
    out: Annotated[Path, typer.Option(help="directory, made if it does not exist")],
    prices: Annotated[Path, typer.Option(help="price table that costs are estimated by")] = (
        ROOT / "stacks" / "prices.yaml"
    ),
) -> None:
    """Write the Grafana dashboards as JSON and the Prometheus rules as YAML."""
    try:
        written = export.write(out, read_prices(prices))
    except BillingError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}") from error
    console = Console()
    for path in written:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
