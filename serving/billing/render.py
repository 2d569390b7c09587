"""A statement as a table, CSV or JSON; the same statement always gives the same bytes."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.billing.codec import to_json
from serving.billing.money import ROUNDING_RULE, plain
from serving.billing.statement import Invoice, Line, LineKind, Statement
from serving.billing.usage import Counts

_USED: Final = (
    *("requests", "failed", "unmeasured"),
    *("input_tokens", "cached_tokens", "output_tokens"),
)
CSV_COLUMNS: Final = (
    *("record", "month", "used_in", "customer", "kind", "domain", "served_model", "version"),
    *("pool", "experiment", "price_from", *_USED, "gpu_ms", "gpu_type", "price_class"),
    *("amount", "due", "currency", "reference", "where", "note"),
)
_TITLES: Final[dict[LineKind, str]] = {
    "tokens": "{served_model}",
    "gpu_time": "GPU time, {served_model}",
    "training": "training {reference}",
    "evaluation": "evaluation {reference}",
    "flat_fee": "monthly fee",
    "free_tier": "free tokens, {served_model}",
    "minimum": "minimum",
    "credit": "credit note {reference}",
    "debit": "debit note {reference}",
}


def render_json(statement: Statement) -> str:
    """Return the statement as one JSON object; amounts are strings, which no reader rounds."""
    values = {**to_json(statement), "rounding": ROUNDING_RULE}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def render_csv(statement: Statement) -> str:
    """Return the statement as CSV; the first column says what a row is.

    `line` rows are those of the invoices, `customer` rows what each owes, `platform` rows GPU time
    that nobody is billed for, `orphan` and `attention` rows what is not billed and why, and the
    `total` row is the sum of the customers' rows.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    common = {"month": statement.month, "currency": statement.currency}
    for row in _rows(statement):
        writer.writerow({**common, **row})
    return stream.getvalue()


def render_table(statement: Statement) -> RenderableType:
    """Return the statement for a terminal."""
    state = "closed" if statement.closed else "open"
    title = f"{statement.month} ({state}), amounts in {statement.currency}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    if statement.invoices:
        parts += [_invoice_table(invoice, statement) for invoice in statement.invoices]
        parts.append(_customer_table(statement))
    else:
        parts.append(Text(f"No request was billed in {statement.month}."))
    parts.append(Text(ROUNDING_RULE, style="dim"))
    if statement.platform:
        parts.append(_platform_table(statement))
    if statement.orphans:
        parts.append(_orphan_table(statement))
    if statement.attention:
        parts.append(_attention_table(statement))
    return Group(*parts)


def _rows(statement: Statement) -> Iterator[dict[str, Any]]:
    for invoice in statement.invoices:
        for line in invoice.lines:
            yield {"record": "line", **_line_row(line)}
    for invoice in statement.invoices:
        yield {
            "record": "customer",
            "customer": invoice.customer,
            **_counts(invoice.counts),
            "gpu_ms": invoice.gpu_ms,
            "amount": plain(invoice.cost),
            "due": plain(invoice.due),
        }
    for platform in statement.platform:
        yield {"record": "platform", **to_json(platform)}
    for orphan in statement.orphans:
        yield {
            "record": "orphan",
            "customer": orphan.customer,
            "domain": orphan.domain,
            "served_model": orphan.served_model,
            "pool": orphan.pool,
            "reference": orphan.request_id,
            "where": orphan.writer,
            "note": f"admitted {orphan.admitted.isoformat()}",
        }
    for found in statement.attention:
        yield {
            "record": "attention",
            "kind": found.kind,
            "requests": found.requests,
            "where": found.where,
            "note": found.detail,
        }
    yield {"record": "total", "due": plain(statement.total_due)}


def _line_row(line: Line) -> dict[str, Any]:
    names = (
        *("customer", "kind", "domain", "served_model", "version", "pool", "experiment"),
        *("price_from", "gpu_ms", "gpu_type", "price_class", "amount", "reference", "note"),
    )
    values = {name: to_json(getattr(line, name)) for name in names}
    return {**values, "used_in": line.month, **_counts(line.counts)}


def _counts(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in _USED}


def _invoice_table(invoice: Invoice, statement: Statement) -> Table:
    table = _table(Text(invoice.customer))
    for name in ("for", "pool", "used"):
        table.add_column(name, overflow="fold")
    table.add_column("cost", justify="right", no_wrap=True)
    for line in invoice.lines:
        texts = (_title(line, statement.month), line.pool or "", _used(line))
        table.add_row(*map(Text, texts), plain(line.amount))
    return table


def _used(line: Line) -> str:
    """What a line is for, without what is zero: columns of zeros would need a wide terminal."""
    counts = line.counts
    shown = (
        (counts.requests, "requests"),
        (counts.failed, "failed"),
        (counts.unmeasured, "unmeasured"),
        (counts.input_tokens, "tokens in"),
        (counts.cached_tokens, "of them cached"),
        (counts.output_tokens, "tokens out"),
        (line.gpu_ms, "GPU ms"),
    )
    return ", ".join(f"{number:,} {name}" for number, name in shown if number)


def _title(line: Line, month: str) -> str:
    title = _TITLES[line.kind].format(served_model=line.served_model, reference=line.reference)
    domain = line.domain if line.domain and line.domain not in title else None
    used_in = None if line.month == month else line.month
    about = [text for text in (domain, line.experiment, used_in) if text]
    return f"{title} ({', '.join(about)})" if about else title


def _customer_table(statement: Statement) -> RenderableType:
    table = _table("All customers", show_footer=True)
    table.add_column("customer", footer="total", overflow="fold")
    table.add_column("requests", justify="right")
    table.add_column("pools")
    for name in ("exact", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    total = f"{plain(statement.total_due)} {statement.currency}"
    table.add_column("due", justify="right", no_wrap=True, footer=total)
    for invoice in statement.invoices:
        table.add_row(
            Text(invoice.customer),
            f"{invoice.counts.requests:,}",
            _split(invoice),
            plain(invoice.cost),
            "-" if invoice.saved is None else plain(invoice.saved),
            f"{plain(invoice.due)} {statement.currency}",
        )
    return Group(
        table,
        Text("saved: the same tokens at llm prices, less tokens and wasted tokens.", style="dim"),
    )


def _split(invoice: Invoice) -> str:
    shares = (
        f"{pool} {100 * count / invoice.counts.requests:.1f} %"
        for pool, count in invoice.pool_requests.items()
    )
    return ", ".join(shares)


def _platform_table(statement: Statement) -> RenderableType:
    table = _table("GPU time that no customer is billed for")
    for name in ("kind", "pool", "GPU", "bought"):
        table.add_column(name)
    for name in ("GPU ms", "value"):
        table.add_column(name, justify="right")
    for line in statement.platform:
        numbers = (f"{line.gpu_ms:,}", plain(line.amount))
        table.add_row(line.kind, line.pool, line.gpu_type, line.price_class, *numbers)
    return table


def _orphan_table(statement: Statement) -> RenderableType:
    title = "Admitted without an end in the ledger (in flight, or cut off by a crash); not billed"
    rows = (
        (each.request_id, each.admitted.isoformat(), each.customer, each.served_model, each.pool)
        for each in statement.orphans
    )
    return _text_table(title, ("request", "admitted", "customer", "adapter", "pool"), rows)


def _attention_table(statement: Statement) -> RenderableType:
    rows = (
        (each.kind, each.where, f"{each.requests:,}", each.detail) for each in statement.attention
    )
    title = "Needs attention: not in the invoices"
    return _text_table(title, ("what", "where", "requests", "detail"), rows)


def _text_table(
    title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]
) -> RenderableType:
    table = _table(title)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _table(title: str | Text, *, show_footer: bool = False) -> Table:
    return Table(
        title=title,
        title_justify="left",
        show_footer=show_footer,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
