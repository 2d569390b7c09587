"""GPU time as the platform team sees it: who used it, what nobody used, jobs. No I/O."""

from collections import defaultdict
from itertools import cycle
from typing import Final

from serving.billing import money
from serving.billing.pages.charts import SHARE_COLOURS, Share
from serving.billing.pages.formats import count, gpu_time, percent, tenths
from serving.billing.pages.sections import LABELS
from serving.billing.pages.tables import Cell, Column, Row, Table, amount_cell, make_table
from serving.billing.statement import Line, LineKind, Statement

_MOST_SHARES: Final = len(SHARE_COLOURS)
NOBODYS: Final = {"idle": "//", "unmeasured": "xx", "unbilled": "..", "late": "--"}
"""GPU time that no customer is billed for, with its pattern in a chart."""


def used_ms(statement: Statement) -> int:
    """GPU time that customers are billed for, jobs left out, in milliseconds."""
    return sum(invoice.gpu_ms for invoice in statement.invoices)


def platform_ms(statement: Statement) -> int:
    """GPU time that no customer is billed for, in milliseconds."""
    return sum(line.gpu_ms for line in statement.platform)


def gpu_parts(statement: Statement) -> list[Share]:
    """Return all parts of the GPU time: customers, the greatest first, then idle and unmeasured."""
    used = sorted(
        ((invoice.gpu_ms, invoice.customer) for invoice in statement.invoices if invoice.gpu_ms),
        key=lambda item: (-item[0], item[1]),
    )
    parts = [(customer, gpu_ms, "") for gpu_ms, customer in used]
    for kind, hatch in NOBODYS.items():
        gpu_ms = sum(line.gpu_ms for line in statement.platform if line.kind == kind)
        if gpu_ms:
            parts.append((kind, gpu_ms, hatch))
    in_tenths = tenths([gpu_ms for _, gpu_ms, _ in parts])
    return [
        Share(label, gpu_ms, share, "white" if hatch else colour, hatch)
        for (label, gpu_ms, hatch), share, colour in zip(
            parts, in_tenths, cycle(SHARE_COLOURS), strict=False
        )
    ]


def bar_parts(parts: list[Share]) -> list[Share]:
    """Put the customers that a bar has no room for into one part."""
    customers = [part for part in parts if not part.hatch]
    if len(customers) > _MOST_SHARES:
        rest = customers[_MOST_SHARES - 1 :]
        others = Share(
            f"{len(rest)} others",
            sum(part.value for part in rest),
            sum(part.tenths for part in rest),
            SHARE_COLOURS[-1],
        )
        customers = [*customers[: _MOST_SHARES - 1], others]
    return customers + [part for part in parts if part.hatch]


def parts_table(parts: list[Share]) -> Table | None:
    """Return all parts with their shares, or None when there are none."""
    if not parts:
        return None
    return make_table(
        "GPU time of the serving pods (h:mm:ss)",
        (Column("Who"), Column("GPU time", "number"), Column("Share", "number")),
        [
            (Cell(part.label), Cell(gpu_time(part.value)), Cell(percent(part.tenths)))
            for part in parts
        ],
        [
            (
                Cell("All"),
                Cell(gpu_time(sum(part.value for part in parts))),
                Cell(percent(sum(part.tenths for part in parts))),
            )
        ],
    )


def platform_table(statement: Statement) -> Table | None:
    """Return what no customer is billed for, or None when that is nothing."""
    if not statement.platform:
        return None
    return make_table(
        "GPU time that no customer is billed for, by pool and GPU",
        (
            Column("What"),
            Column("Pool"),
            Column("GPU"),
            Column("GPU time", "number"),
            Column("Amount", "number"),
        ),
        [
            (
                Cell(line.kind),
                Cell(line.pool),
                Cell(line.gpu_type, notes=(line.price_class,)),
                Cell(gpu_time(line.gpu_ms)),
                amount_cell(line.amount),
            )
            for line in statement.platform
        ],
        [
            (
                Cell("Total"),
                Cell(),
                Cell(),
                Cell(gpu_time(platform_ms(statement))),
                amount_cell(money.add(line.amount for line in statement.platform)),
            )
        ],
    )


def jobs_table(statement: Statement) -> Table | None:
    """Return jobs by customer and domain, or None when there were none."""
    grouped: defaultdict[tuple[str, str, LineKind], list[Line]] = defaultdict(list)
    for invoice in statement.invoices:
        for line in invoice.lines:
            if line.kind in ("training", "evaluation"):
                grouped[line.customer, line.domain or "", line.kind].append(line)
    if not grouped:
        return None
    everything = [line for lines in grouped.values() for line in lines]
    return make_table(
        "Training and evaluation jobs, billed to their customers",
        (
            Column("Customer"),
            Column("Domain"),
            Column("Job"),
            Column("Runs", "number"),
            Column("GPU time", "number"),
            Column("Amount", "number"),
        ),
        [
            (Cell(customer), Cell(domain), Cell(LABELS[kind]), *_job_sums(lines))
            for (customer, domain, kind), lines in sorted(grouped.items())
        ],
        [(Cell("Total"), Cell(), Cell(), *_job_sums(everything))],
    )


def _job_sums(lines: list[Line]) -> Row:
    return (
        Cell(count(len({line.reference for line in lines}))),
        Cell(gpu_time(sum(line.gpu_ms for line in lines))),
        amount_cell(money.add(line.amount for line in lines)),
    )
