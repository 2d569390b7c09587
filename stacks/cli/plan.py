"""`pipeline plan`: what an environment on Kubernetes costs, beside the guide's figures."""

from collections.abc import Sequence
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
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("phase")
    table.add_column("adds")
    table.add_column("guide", justify="right")
    table.add_column("this stack", justify="right")
    for phase in phases:
        style = "bold" if phase.number == current else ""
        title = f"{phase.title} ({phase.timeline})"
        table.add_row(str(phase.number), title, phase.guide, "", style=style)
        for what, amount in _items(phase):
            table.add_row("", f"  {what}", "", amount)
    console.print("[bold]Roadmap[/]")
    console.print(table)
    console.print(
        f"This stack is in phase {current}. On-demand list prices of {prices.as_of}, "
        f"{prices.region}, {HOURS} h a month, the fewest nodes that it allows (one at least). "
        "Spot: at most that.",
        style="dim",
    )


def _items(phase: Phase) -> list[tuple[str, str]]:
    """What the phase adds on this stack, and its price."""
    items = [(line.what, _money(line, "/mo")) for line in phase.lines]
    if phase.once is not None:
        items.append((phase.once.what, _money(phase.once, " once")))
    if phase.note:
        items.append((phase.note, ""))
    return items or [("nothing is configured for it", "")]


def _print_cascade(console: Console, phases: tuple[Phase, ...], prices: PriceTable) -> None:
    slm, llm = prices.guide.slm_month, prices.guide.llm_month
    guide = road.pre_router(slm, llm)
    rows = [
        (f"guide: 0.7 x {_usd(slm)} + 0.3 x {_usd(llm)}", f"{_usd(guide.cascade)}/mo"),
        (f"guide: saved, {guide.share:.1%} of {_usd(llm)}", f"{_usd(guide.saved)}/mo"),
        ("guide: saved in a year", _usd(guide.saved * 12)),
        *_own_cascade(phases),
    ]
    _print_rows(console, "Cascade, 70 % of requests by the small model", rows)


def _own_cascade(phases: tuple[Phase, ...]) -> list[tuple[str, str]]:
    llm = road.total(line for line in phases[0].lines if line.what.startswith("llm"))
    slm = road.total(phases[2].lines)
    if not llm or not slm:
        return [("this stack: has not both pools, or a price is missing", "")]
    ours = road.pre_router(slm, llm)
    return [
        ("this stack, were capacity to follow load", f"{_usd(ours.cascade)}/mo"),
        (f"this stack, then saved, {ours.share:.1%} of {_usd(llm)}", f"{_usd(ours.saved)}/mo"),
        ("this stack, all nodes always on", f"{_usd(slm + llm)}/mo"),
    ]


def _print_return(console: Console, phases: tuple[Phase, ...], prices: PriceTable) -> None:
    value, once = road.migration_value(), prices.guide.adapters_once
    rows = [
        ("guide: 10,000 modules x 1.5 h", f"{road.migration_hours():,.0f} h"),
        ("guide: what these hours cost", _usd(value)),
        (f"guide: divided by {_usd(once)} of training", f"{value / once:.0f}x"),
    ]
    months = [road.total(phase.lines) for phase in phases]
    training = phases[3].once
    if None not in months and training is not None and training.month is not None:
        year = sum((m for m in months if m is not None), Decimal(0)) * 12
        ratio = value / (year + training.month)
        rows.append(("this stack: divided by a year of it and one training", f"{ratio:.1f}x"))
    _print_rows(console, "Return, by the guide's own assumptions", rows)


def _print_prices(console: Console, prices: PriceTable) -> None:
    rows = []
    for instance, guide in prices.guide.instances.items():
        ours = prices.hour(instance)
        if ours is not None:
            rows += [
                (f"{instance}, guide, on-demand", f"${guide.on_demand}"),
                (f"{instance}, guide, spot", f"${guide.spot}"),
                (f"{instance}, list price, on-demand", f"${ours}"),
                ("  times the guide's", f"{ours / guide.on_demand:.1f}x"),
            ]
    _print_rows(console, "Prices an hour that differ", rows)


def _print_rows(console: Console, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A heading, and one line for each figure."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(min_width=54)
    table.add_column(justify="right", min_width=12)
    for what, figure in rows:
        table.add_row(f"  {what}", figure)
    console.print(f"\n[bold]{title}[/]")
    console.print(table)


def _money(line: Line, unit: str) -> str:
    if line.month is None:
        return "no price"
    return f"{'<= ' if line.at_most else ''}{_usd(line.month)}{unit}"


def _usd(value: Decimal) -> str:
    return f"${value:,.0f}"
