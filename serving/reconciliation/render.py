"""A report as a table or as JSON."""

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.reconciliation.differences import Attribution, Difference
from serving.reconciliation.report import Comparison, Report

_EXPLANATION = "a..b: between a and b, with other causes that could have made the same difference"


def render_json(report: Report) -> str:
    """Return the report as one JSON object."""
    value = {
        "from": report.began.isoformat(),
        "to": report.ended.isoformat(),
        "explained": report.explained,
        "differences": [
            _row(comparison, difference)
            for comparison in report.comparisons
            for difference in comparison.differences
        ],
        "notes": list(report.notes),
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def render_table(report: Report) -> RenderableType:
    """Return the report for a terminal."""
    parts: list[RenderableType] = [_table(report.comparisons), Text(_EXPLANATION, style="dim")]
    parts += [Text(f"note: {note}") for note in report.notes]
    parts.append(Text(_verdict(report), style="bold"))
    return Group(*parts)


def _verdict(report: Report) -> str:
    if report.explained:
        return "Every difference is explained."
    return "Some differences are unknown: nothing that is known of the interval explains them."


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("source", "of", "measure"):
        table.add_column(name, overflow="fold")
    for name in ("ledger", "counted"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("explained by", overflow="fold")
    table.add_column("unknown", justify="right", no_wrap=True)
    for comparison in comparisons:
        for number, difference in enumerate(comparison.differences):
            names = (comparison.source, comparison.scope or "nobody") if number == 0 else ("", "")
            table.add_row(
                *names,
                difference.measure.replace("_", " "),
                f"{difference.ledger:,}",
                f"{difference.counted:,}",
                _causes(difference),
                Text(f"{difference.unknown:+,}", style="red") if difference.unknown else "0",
            )
    return table


def _causes(difference: Difference) -> str:
    shown = [
        f"{each.cause} {_amount(each)}"
        for each in difference.attributions
        if each.least or each.most
    ]
    return ", ".join(shown) or "-"


def _amount(attribution: Attribution) -> str:
    if attribution.exact:
        return f"{attribution.amount:+,}"
    return f"{attribution.least:+,}..{attribution.most:+,}"


def _row(comparison: Comparison, difference: Difference) -> dict[str, object]:
    return {
        "source": comparison.source,
        "scope": comparison.scope,
        "from": comparison.began.isoformat(),
        "to": comparison.ended.isoformat(),
        "measure": difference.measure,
        "ledger": difference.ledger,
        "counted": difference.counted,
        "difference": difference.difference,
        "causes": [vars(attribution) for attribution in difference.attributions],
        "unknown": difference.unknown,
        "hides_below": difference.hides_below,
        "hides_above": difference.hides_above,
    }
