"""A bill as a table, CSV or JSON; the same bill always gives the same bytes."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.billing.bill import ROUNDING_RULE, Bill, CustomerTotal, Line
from serving.ledger.records import Intent

_USAGE = ("requests", "failed", "unmeasured", "input_tokens", "cached_tokens", "output_tokens")
CSV_COLUMNS = (
    *("record", "month", "customer", "domain", "adapter", "pool", "price_from"),
    *_USAGE,
    *("cost", "due", "currency", "request_id", "ts"),
)


def plain(value: Decimal) -> str:
    """Write a decimal in full: no exponent, no zeros that say nothing, at least two decimals."""
    text = format(Context(prec=60).normalize(value), "f")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"


def render_json(bill: Bill) -> str:
    """Return the bill as one JSON object; amounts are strings, so that no reader rounds them."""
    return (
        json.dumps(
            {
                "month": bill.month,
                "currency": bill.currency,
                "rounding": ROUNDING_RULE,
                "customers": [
                    {
                        "customer": total.customer,
                        "requests": total.requests,
                        "cost": plain(total.cost),
                        "due": plain(total.due),
                        "pool_requests": dict(total.pool_requests),
                    }
                    for total in bill.customers
                ],
                "lines": [_line(line) for line in bill.lines],
                "orphans": [_orphan(intent) for intent in bill.orphans],
                "total": plain(bill.total),
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def render_csv(bill: Bill) -> str:
    """Return the bill as CSV; the first column says what a row is.

    `usage` rows are the lines, `customer` rows what each owes, `orphan` rows the requests without
    an end, and the `total` row is the sum of the customers' rows.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    common = {"month": bill.month, "currency": bill.currency}
    for line in bill.lines:
        writer.writerow({"record": "usage", **common, **_line(line)})
    for total in bill.customers:
        writer.writerow(
            {
                "record": "customer",
                **common,
                "customer": total.customer,
                "requests": total.requests,
                "cost": plain(total.cost),
                "due": plain(total.due),
            }
        )
    for intent in bill.orphans:
        writer.writerow({"record": "orphan", **common, **_orphan(intent)})
    writer.writerow({"record": "total", **common, "due": plain(bill.total)})
    return stream.getvalue()


def render_table(bill: Bill) -> RenderableType:
    """Return the bill for a terminal."""
    parts: list[RenderableType] = [_usage_table(bill)]
    if bill.customers:
        parts.append(_customer_table(bill))
    parts.append(Text(ROUNDING_RULE, style="dim"))
    if bill.orphans:
        parts.append(_orphan_table(bill))
    return Group(*parts)


@dataclass(frozen=True)
class _Column:
    """A count of the usage table."""

    title: str
    of: Callable[[Line], int]
    optional: bool = False
    """Left out when it is zero on every line."""


_COLUMNS = (
    _Column("requests", lambda line: line.usage.requests),
    _Column("failed", lambda line: line.usage.failed, optional=True),
    _Column("unmeasured", lambda line: line.usage.unmeasured, optional=True),
    _Column("tokens in", lambda line: line.usage.input_tokens),
    _Column("cached", lambda line: line.usage.cached_tokens, optional=True),
    _Column("tokens out", lambda line: line.usage.output_tokens),
)


def _usage_table(bill: Bill) -> RenderableType:
    if not bill.lines:
        return Text(f"No request ended in {bill.month}.")
    table = _table(f"{bill.month}, amounts in {bill.currency}")
    for name in ("customer", "adapter", "pool"):
        table.add_column(name, overflow="fold")
    # Eighty columns hold no column of zeros.
    shown = [
        column for column in _COLUMNS if not column.optional or any(map(column.of, bill.lines))
    ]
    for column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
    table.add_column("cost", justify="right", overflow="fold")
    for line in bill.lines:
        numbers = [f"{column.of(line):,}" for column in shown]
        key = line.key
        table.add_row(key.customer, key.adapter, key.pool, *numbers, plain(line.cost))
    return table


def _customer_table(bill: Bill) -> RenderableType:
    table = _table("", show_footer=True)
    table.add_column("customer", footer="total")
    table.add_column("requests", justify="right")
    table.add_column("pools")
    table.add_column("exact", justify="right")
    table.add_column("due", justify="right", footer=f"{bill.total} {bill.currency}")
    for total in bill.customers:
        table.add_row(
            total.customer,
            f"{total.requests:,}",
            _split(total),
            plain(total.cost),
            f"{total.due} {bill.currency}",
        )
    return table


def _table(title: str, *, show_footer: bool = False) -> Table:
    return Table(
        title=title,
        title_justify="left",
        show_footer=show_footer,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _split(total: CustomerTotal) -> str:
    shares = (
        f"{pool} {100 * count / total.requests:.1f} %"
        for pool, count in total.pool_requests.items()
    )
    return ", ".join(shares)


def _orphan_table(bill: Bill) -> RenderableType:
    title = "Admitted without an end in the ledger (in flight, or cut off by a crash); not billed"
    table = _table(title)
    for name in ("request", "admitted", "customer", "adapter", "pool"):
        table.add_column(name, overflow="fold")
    for intent in bill.orphans:
        table.add_row(
            intent.request_id, intent.ts, intent.customer, intent.served_model, intent.pool
        )
    return table


def _line(line: Line) -> dict[str, Any]:
    key = line.key
    return {
        "customer": key.customer,
        "domain": key.domain,
        "adapter": key.adapter,
        "pool": key.pool,
        "price_from": key.price_from.isoformat(),
        **{name: getattr(line.usage, name) for name in _USAGE},
        "cost": plain(line.cost),
    }


def _orphan(intent: Intent) -> dict[str, Any]:
    return {
        "customer": intent.customer,
        "domain": intent.domain,
        "adapter": intent.served_model,
        "pool": intent.pool,
        "request_id": intent.request_id,
        "ts": intent.ts,
    }
