"""From a statement to what the platform team's report shows. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from serving.billing import counts as sums
from serving.billing import money
from serving.billing.pages.charts import Chart, ranking, whole
from serving.billing.pages.formats import (
    amount_text,
    count,
    gpu_time,
    month_name,
)
from serving.billing.pages.gpu import (
    NOBODYS,
    bar_parts,
    gpu_parts,
    jobs_table,
    parts_table,
    platform_ms,
    platform_table,
    used_ms,
)
from serving.billing.pages.pools import daily_charts, gpu_chart, pool_order
from serving.billing.pages.tables import Cell, Column, Row, Table, amount_cell, make_table
from serving.billing.statement import Statement
from serving.billing.usage import Counts

MOST_ORPHANS: Final = 500


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
        gpu=parts_table(gpu_parts(statement)),
        platform=platform_table(statement),
        jobs=jobs_table(statement),
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
        shares=whole("gpu", "GPU time: who used it", bar_parts(gpu_parts(statement))),
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
        ("GPU time", gpu_time(used_ms(statement) + platform_ms(statement))),
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
                *_usage(sums.total(invoice.counts for invoice in invoices), used_ms(statement)),
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
    rows = [(Cell("Customers"), Cell(gpu_time(used_ms(statement))), amount_cell(billed))]
    total = billed
    for kind in NOBODYS:
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
                Cell(gpu_time(used_ms(statement) + platform_ms(statement))),
                amount_cell(total),
            )
        ],
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
