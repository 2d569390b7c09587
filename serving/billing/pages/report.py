"""From a statement to what the platform team's report shows. No I/O."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from serving.billing import counts as sums
from serving.billing import money
from serving.billing.pages.charts import SHARE_COLOURS, Chart, Share, ranking, whole
from serving.billing.pages.formats import (
    amount_text,
    count,
    gpu_time,
    month_name,
    percent,
    tenths,
)
from serving.billing.pages.pools import daily_charts, gpu_chart, pool_order
from serving.billing.pages.sections import LABELS
from serving.billing.pages.tables import Cell, Column, Row, Table, amount_cell, make_table
from serving.billing.statement import Line, LineKind, Statement
from serving.billing.usage import Counts

MOST_ORPHANS: Final = 500
_MOST_SHARES: Final = len(SHARE_COLOURS)
_NOBODYS: Final = {"idle": "//", "unmeasured": "xx", "unbilled": ".."}
"""GPU time that no customer is billed for, with its pattern in a chart."""


@dataclass(frozen=True)
class ReportPage:
    """What the template of the report needs besides the statement."""

    title: str
    month: str
    due: str
    facts: tuple[tuple[str, str], ...]
    attention: Table | None
    customers: Table | None
    balance: Table
    gpu: Table | None
    platform: Table | None
    jobs: Table | None
    charts: tuple[Chart, ...]
    shares: tuple[Chart, ...]
    orphans: Table | None
    orphans_left: int
    """Orphans that the table leaves out."""
    parts: Table | None
    rounding: str


def report_page(statement: Statement, files: Mapping[str, str]) -> ReportPage:
    """Return what the report shows; `files` has the page of each customer."""
    pools = pool_order(statement)
    return ReportPage(
        title="Usage report" if statement.closed else "Preliminary usage report",
        month=month_name(statement.month),
        due=amount_text(statement.total_due),
        facts=_facts(statement),
        attention=_attention(statement),
        customers=_customers(statement, files),
        balance=_balance(statement),
        gpu=_gpu(_gpu_parts(statement)),
        platform=_platform(statement),
        jobs=_jobs(statement),
        charts=(
            *daily_charts(statement.month, pools, statement.days),
            *gpu_chart(statement.month, pools, statement.days),
            *ranking(
                "cost",
                "Cost by customer",
                {invoice.customer: invoice.cost for invoice in statement.invoices},
                statement.currency,
            ),
        ),
        shares=whole("gpu", "GPU time: who used it", _gpu_bar(_gpu_parts(statement))),
        orphans=_orphans(statement),
        orphans_left=max(0, len(statement.orphans) - MOST_ORPHANS),
        parts=_parts(statement),
        rounding=money.ROUNDING_RULE,
    )


def _facts(statement: Statement) -> tuple[tuple[str, str], ...]:
    counts = [invoice.counts for invoice in statement.invoices]
    saved = [invoice.saved for invoice in statement.invoices if invoice.saved is not None]
    facts = [
        ("Customers", count(len(statement.invoices))),
        ("Requests", count(sum(each.requests for each in counts))),
        ("Tokens in", count(sum(each.input_tokens for each in counts))),
        ("Tokens out", count(sum(each.output_tokens for each in counts))),
        ("GPU time", gpu_time(_used_ms(statement) + _platform_ms(statement))),
    ]
    if saved:
        facts.append((f"Cascade saved, {statement.currency}", amount_text(money.add(saved))))
    return tuple(facts)


def _attention(statement: Statement) -> Table | None:
    if not statement.attention:
        return None
    return make_table(
        "What keeps requests out of the invoices, or makes a sum doubtful",
        (Column("What"), Column("Where"), Column("Details"), Column("Requests", "number")),
        [
            (Cell(item.kind), Cell(item.where), Cell(item.detail), Cell(count(item.requests)))
            for item in statement.attention
        ],
    )


def _customers(statement: Statement, files: Mapping[str, str]) -> Table | None:
    invoices = statement.invoices
    if not invoices:
        return None
    return make_table(
        "One line for each invoice",
        (
            Column("Customer"),
            Column("Requests", "number"),
            Column("Tokens in", "number"),
            Column("Tokens out", "number"),
            Column("GPU time", "number"),
            Column("Exact", "number"),
            Column("Due", "number"),
        ),
        [
            (
                Cell(invoice.customer, href=files[invoice.customer]),
                *_usage(invoice.counts, invoice.gpu_ms),
                amount_cell(invoice.cost),
                amount_cell(invoice.due),
            )
            for invoice in invoices
        ],
        [
            (
                Cell("Total"),
                *_usage(sums.total(invoice.counts for invoice in invoices), _used_ms(statement)),
                amount_cell(money.add(invoice.cost for invoice in invoices)),
                amount_cell(statement.total_due),
            )
        ],
    )


def _usage(counts: Counts, gpu_ms: int) -> Row:
    not_billed = ((counts.failed, "failed"), (counts.unmeasured, "unmeasured"))
    return (
        Cell(
            count(counts.requests),
            notes=tuple(f"{count(number)} {what}" for number, what in not_billed if number),
        ),
        Cell(
            count(counts.input_tokens),
            notes=(f"{count(counts.cached_tokens)} cached",) if counts.cached_tokens else (),
        ),
        Cell(count(counts.output_tokens)),
        Cell(gpu_time(gpu_ms)),
    )


def _balance(statement: Statement) -> Table:
    billed = money.add(invoice.cost for invoice in statement.invoices)
    rows = [(Cell("Customers"), Cell(gpu_time(_used_ms(statement))), amount_cell(billed))]
    total = billed
    for kind in _NOBODYS:
        lines = [line for line in statement.platform if line.kind == kind]
        if not lines:
            continue
        cost = money.add(line.amount for line in lines)
        rows.append(
            (
                Cell(f"GPU time, {kind}"),
                Cell(gpu_time(sum(line.gpu_ms for line in lines))),
                amount_cell(cost),
            )
        )
        total = money.add((total, cost))
    return make_table(
        "Exact amounts; only the customers' are billed",
        (Column("Who"), Column("GPU time", "number"), Column("Amount", "number")),
        rows,
        [
            (
                Cell("All"),
                Cell(gpu_time(_used_ms(statement) + _platform_ms(statement))),
                amount_cell(total),
            )
        ],
    )


def _used_ms(statement: Statement) -> int:
    return sum(invoice.gpu_ms for invoice in statement.invoices)


def _platform_ms(statement: Statement) -> int:
    return sum(line.gpu_ms for line in statement.platform)


def _gpu_parts(statement: Statement) -> list[Share]:
    """Return all parts of the GPU time: customers, the greatest first, then idle and unmeasured."""
    used = sorted(
        ((invoice.gpu_ms, invoice.customer) for invoice in statement.invoices if invoice.gpu_ms),
        key=lambda item: (-item[0], item[1]),
    )
    parts = [(customer, gpu_ms, "") for gpu_ms, customer in used]
    for kind, hatch in _NOBODYS.items():
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


def _gpu_bar(parts: list[Share]) -> list[Share]:
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


def _gpu(parts: list[Share]) -> Table | None:
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


def _platform(statement: Statement) -> Table | None:
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
                Cell(gpu_time(_platform_ms(statement))),
                amount_cell(money.add(line.amount for line in statement.platform)),
            )
        ],
    )


def _jobs(statement: Statement) -> Table | None:
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


def _orphans(statement: Statement) -> Table | None:
    if not statement.orphans:
        return None
    return make_table(
        "Admitted requests without an end; their tokens are unknown and not billed",
        (
            Column("Request", "code"),
            Column("Admitted (UTC)"),
            Column("Customer"),
            Column("Adapter"),
            Column("Pool"),
            Column("Writer"),
        ),
        [
            (
                Cell(orphan.request_id),
                Cell(orphan.admitted.isoformat(" ", "milliseconds").removesuffix("+00:00")),
                Cell(orphan.customer),
                Cell(orphan.served_model, notes=(f"domain {orphan.domain}",)),
                Cell(orphan.pool),
                Cell(orphan.writer),
            )
            for orphan in statement.orphans[:MOST_ORPHANS]
        ],
    )


def _parts(statement: Statement) -> Table | None:
    if not statement.parts:
        return None
    return make_table(
        "Day parts that the month was made from",
        (Column("Day"), Column("Digest", "code")),
        [(Cell(day), Cell(digest)) for day, digest in sorted(statement.parts.items())],
    )
