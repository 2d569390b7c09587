"""`pipeline plan`: what an environment on Kubernetes costs, beside the guide's figures."""

from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stacks import roadmap as road
from stacks.catalogue.prices import PriceTable, price_table
from stacks.cli.project import Project
from stacks.config.load import ConfigError
from stacks.roadmap import HOURS, Line, Phase

Stack = Annotated[str, typer.Argument(help="an environment stack on Kubernetes, such as prod")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


def plan(
    stack: Stack,
    *,
    roadmap: Annotated[
        bool, typer.Option("--roadmap", help="what each phase of the roadmap adds and costs")
    ] = False,
) -> None:
    """Show what each phase of the roadmap adds and costs, the guide's figures beside ours."""
    if not roadmap:
        raise ConfigError("there is one plan in this version: `pipeline plan STACK --roadmap`")
    environment, prices = Project.default().cluster(stack).environment, price_table()
    console, phases = Console(), road.phases(environment, prices)
    _print_phases(console, environment.phase, phases, prices)
    _print_cascade(console, phases, prices)
    _print_return(console, phases, prices)
    _print_prices(console, prices)


def _print_phases(
    console: Console, current: int, phases: tuple[Phase, ...], prices: PriceTable
) -> None:
    table = Table(title="Roadmap", title_justify="left", box=None, pad_edge=False)
    for column in ("phase", "adds", "when", "guide", "this stack"):
        table.add_column(column)
    for phase in phases:
        mark = " (this stack)" if phase.number == current else ""
        table.add_row(
            f"{phase.number}{mark}", phase.title, phase.timeline, phase.guide, _ours(phase)
        )
    console.print(table)
    console.print(
        f"Ours: on-demand list prices of {prices.as_of}, {prices.region}, {HOURS} h a month, the "
        "fewest nodes that the stack allows (one at least). Spot: at most that.",
        style="dim",
    )


def _ours(phase: Phase) -> str:
    lines = [f"{_money(line)}/mo  {line.what}" for line in phase.lines]
    if phase.once is not None:
        lines.append(f"{_money(phase.once)} once  {phase.once.what}")
    if phase.note:
        lines.append(phase.note)
    return "\n".join(lines) or "nothing is configured for it"


def _print_cascade(console: Console, phases: tuple[Phase, ...], prices: PriceTable) -> None:
    guide = road.pre_router(prices.guide.slm_month, prices.guide.llm_month)
    console.print("\n[bold]Cascade, 70 % of requests by the small model[/]")
    console.print(
        f"  guide: 0.7 x {_usd(prices.guide.slm_month)} + 0.3 x {_usd(prices.guide.llm_month)} = "
        f"{_usd(guide.cascade)}/mo: {_usd(guide.saved)} saved ({guide.share:.1%}), "
        f"{_usd(guide.saved * 12)} a year"
    )
    llm = road.total(line for line in phases[0].lines if line.what.startswith("llm"))
    slm = road.total(phases[2].lines)
    if not llm or not slm:
        console.print("  this stack: has not both pools, or a price is missing")
        return
    ours = road.pre_router(slm, llm)
    console.print(
        f"  this stack, were capacity to follow load: {_usd(ours.cascade)}/mo of "
        f"{_usd(ours.all_llm)}: {ours.share:.1%} saved"
    )
    console.print(
        f"  this stack, its nodes always on: {_usd(slm + llm)}/mo: the small pool is "
        f"{_usd(slm)} more, until large nodes go"
    )


def _print_return(console: Console, phases: tuple[Phase, ...], prices: PriceTable) -> None:
    value, once = road.migration_value(), prices.guide.adapters_once
    console.print("\n[bold]Return, by the guide's own assumptions[/]")
    console.print(
        f"  10,000 modules x 1.5 h = {road.migration_hours():,.0f} h, about {_usd(value)}; "
        f"divided by {_usd(once)} of training: {value / once:.0f}x"
    )
    months = [road.total(phase.lines) for phase in phases]
    training = phases[3].once
    if None in months or training is None or training.month is None:
        return
    year = sum((m for m in months if m is not None), Decimal(0)) * 12
    console.print(
        f"  the same value over a year of this stack and one training: "
        f"{value / (year + training.month):.1f}x: the guide leaves out what runs"
    )


def _print_prices(console: Console, prices: PriceTable) -> None:
    console.print("\n[bold]Prices an hour that differ[/]")
    for instance, guide in prices.guide.instances.items():
        ours = prices.hour(instance)
        if ours is None:
            continue
        console.print(
            f"  {instance}: guide ${guide.on_demand} on-demand, ${guide.spot} spot; list price "
            f"${ours} on-demand, {ours / guide.on_demand:.1f} times the guide's"
        )


def _money(line: Line) -> str:
    if line.month is None:
        return "no price"
    return f"{'<= ' if line.at_most else ''}{_usd(line.month)}"


def _usd(value: Decimal) -> str:
    return f"${value:,.0f}"
