"""From a customer's invoice to what its page shows. No I/O."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from serving.billing import money
from serving.billing.pages.charts import Chart, ranking
from serving.billing.pages.formats import (
    amount_text,
    count,
    gpu_time,
    month_name,
    percent,
    signed,
    tenths,
)
from serving.billing.pages.pools import daily_charts, split_chart
from serving.billing.pages.sections import Section, sections
from serving.billing.pages.tables import Cell, Column, Table, amount_cell, make_table
from serving.billing.statement import Invoice, Statement

_HUNDRED: Final = Decimal(100)
_TENTH: Final = Decimal("0.1")


@dataclass(frozen=True)
class InvoicePage:
    """What the template of an invoice needs besides the statement and the invoice."""

    title: str
    month: str
    due: str
    due_label: str
    facts: tuple[tuple[str, str], ...]
    summary: Table
    sections: tuple[Section, ...]
    charts: tuple[Chart, ...]
    pools: Table | None
    savings: Table | None
    command: str
    """What prints the requests of the invoice."""
    rounding: str


def invoice_page(statement: Statement, invoice: Invoice, pools: Sequence[str]) -> InvoicePage:
    """Return what one customer's page shows; `pools` are all pools of the statement in order."""
    made = sections(statement.month, invoice)
    days = [day for day in statement.days if day.customer == invoice.customer]
    return InvoicePage(
        title="Invoice" if statement.closed else "Preliminary invoice",
        month=month_name(statement.month),
        due=amount_text(invoice.due),
        due_label="Amount due" if invoice.due >= 0 else "In the customer's favour",
        facts=_facts(invoice),
        summary=_summary(invoice, made),
        sections=made,
        charts=(
            *daily_charts(statement.month, pools, days),
            *_cost_chart(statement.currency, invoice),
            *split_chart(pools, invoice.pool_requests),
        ),
        pools=_pools(invoice),
        savings=_savings(invoice),
        command=_command(statement, invoice.customer),
        rounding=money.ROUNDING_RULE,
    )


def _facts(invoice: Invoice) -> tuple[tuple[str, str], ...]:
    counts = invoice.counts
    return (
        ("Requests", count(counts.requests)),
        ("Tokens in", count(counts.input_tokens)),
        ("of them cached", count(counts.cached_tokens)),
        ("Tokens out", count(counts.output_tokens)),
        ("GPU time, h:mm:ss", gpu_time(invoice.gpu_ms)),
    )


def _summary(invoice: Invoice, made: Iterable[Section]) -> Table:
    return make_table(
        "Amounts are exact; the digits beyond the cent are in grey",
        (Column("Part of the invoice"), Column("Amount", "number")),
        [
            (Cell(section.title, href=f"#{section.anchor}"), amount_cell(section.subtotal))
            for section in made
        ],
        (
            (Cell("Sum of the lines"), amount_cell(invoice.cost)),
            (Cell("Rounding"), amount_cell(money.subtract(invoice.due, invoice.cost))),
            (Cell("Amount due"), amount_cell(invoice.due)),
        ),
    )


def _pools(invoice: Invoice) -> Table | None:
    pools = sorted(invoice.pool_requests)
    numbers = [invoice.pool_requests[pool] for pool in pools]
    if not sum(numbers):
        return None
    in_tenths = tenths(numbers)
    return make_table(
        "Requests by the pool that answered",
        (Column("Pool"), Column("Requests", "number"), Column("Share", "number")),
        [
            (Cell(pool), Cell(count(number)), Cell(percent(share)))
            for pool, number, share in zip(pools, numbers, in_tenths, strict=True)
        ],
        [(Cell("All"), Cell(count(sum(numbers))), Cell(percent(sum(in_tenths))))],
    )


def _savings(invoice: Invoice) -> Table | None:
    """Compare with the same tokens in pool `llm`; None where that pool has no prices."""
    everything, saved = invoice.all_llm_amount, invoice.saved
    if everything is None or saved is None:
        return None
    return make_table(
        "The tokens in the pools that answered, against all of them in pool llm",
        (Column("What"), Column("Amount", "number")),
        [
            (Cell("All requests in pool llm would have cost"), amount_cell(everything)),
            (
                Cell("In the pools that answered", notes=("with slm answers thrown away",)),
                amount_cell(money.subtract(everything, saved)),
            ),
        ],
        [(Cell("Saved"), amount_cell(saved, *_saved_share(saved, everything)))],
    )


def _saved_share(saved: Decimal, everything: Decimal) -> tuple[str, ...]:
    if not everything:
        return ()
    share = (saved * _HUNDRED / everything).quantize(_TENTH, ROUND_HALF_EVEN)
    return (f"{signed(f'{share:,}')} %",)


def _command(statement: Statement, customer: str) -> str:
    return shlex.join(
        (
            *("pipeline", "bill", "requests", "--environment", statement.environment),
            *("--month", statement.month, "--customer", customer),
        )
    )


def _cost_chart(currency: str, invoice: Invoice) -> tuple[Chart, ...]:
    costs: defaultdict[str, list[Decimal]] = defaultdict(list)
    for line in invoice.lines:
        if line.served_model is not None:
            costs[line.served_model].append(line.amount)
    return ranking(
        "cost",
        "Cost by adapter",
        {adapter: money.add(amounts) for adapter, amounts in costs.items()},
        currency,
    )
