"""The lines of an invoice as tables, one for each sort of line. No I/O."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from serving.billing import counts as sums
from serving.billing import money
from serving.billing.pages.formats import (
    NO_BREAK,
    amount_text,
    count,
    gpu_time,
    month_name,
    unit_price,
)
from serving.billing.pages.tables import Cell, Column, Row, Table, amount_cell, make_table
from serving.billing.statement import NOTE_KINDS, Invoice, Line, LineKind
from serving.billing.usage import Counts

LABELS: Final[dict[LineKind, str]] = {
    "tokens": "Tokens",
    "gpu_time": "GPU time",
    "training": "Training",
    "evaluation": "Evaluation",
    "flat_fee": "Flat fee",
    "free_tier": "Free tier",
    "minimum": "Monthly minimum",
    "credit": "Credit note",
    "debit": "Debit note",
}
_AMOUNT: Final = Column("Amount", "number")
_GPU_TIME: Final = Column("GPU time", "number")
_TOKENS: Final = (
    Column("Requests", "number"),
    Column("Tokens in, not cached", "number"),
    Column("Tokens in, cached", "number"),
    Column("Tokens out", "number"),
)
_NONE: Final = Cell()
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Section:
    """Lines of one sort, and what they add up to."""

    anchor: str
    title: str
    subtotal: Decimal
    table: Table


def sections(month: str, invoice: Invoice) -> tuple[Section, ...]:
    """Return an invoice's sections; each of its lines is in one of them.

    Args:
        month: Month of the statement; lines of an earlier one are late. A note is not: it
            belongs to the month that it appears in, whatever it corrects.
        invoice: The invoice.
    """
    late = [line for line in invoice.lines if line.month != month and line.kind not in NOTE_KINDS]
    own = [line for line in invoice.lines if line.month == month or line.kind in NOTE_KINDS]

    def of(*kinds: LineKind) -> list[Line]:
        return [line for line in own if line.kind in kinds]

    made: tuple[tuple[str, str, list[Line], Callable[[Sequence[Line]], Table]], ...] = (
        ("tokens", "Tokens", of("tokens"), _tokens),
        ("gpu-time", "GPU time", of("gpu_time"), _gpu),
        ("jobs", "Training and evaluation", of("training", "evaluation"), _jobs),
        (
            "fees",
            "Fees, free tier, minimum and notes",
            of("flat_fee", "free_tier", "minimum", *NOTE_KINDS),
            _fees,
        ),
        ("late", "Late use of earlier months", late, _late),
    )
    return tuple(
        Section(anchor, title, money.add(line.amount for line in lines), table(lines))
        for anchor, title, lines, table in made
        if lines
    )


def _tokens(lines: Sequence[Line]) -> Table:
    return make_table(
        f"By adapter and pool: tokens {_TIMES} price per million (M) of them",
        (Column("Adapter"), Column("Pool"), *_TOKENS, _AMOUNT),
        [(_adapter(line), _pool(line), *_token_cells(line), _amount(line)) for line in lines],
        [_subtotal(lines, _NONE, *_token_sums(lines))],
    )


def _gpu(lines: Sequence[Line]) -> Table:
    return make_table(
        "GPU time (h:mm:ss) allocated to the tokens, in windows of 60 s by the time set for "
        f"each, {_TIMES} price per hour",
        (Column("Adapter"), Column("Pool"), Column("GPU"), _GPU_TIME, _AMOUNT),
        [
            (_adapter(line), _pool(line), _gpu_type(line), _gpu_time(line), _amount(line))
            for line in lines
        ],
        [_subtotal(lines, _NONE, _NONE, _gpu_sum(lines))],
    )


def _jobs(lines: Sequence[Line]) -> Table:
    return make_table(
        f"GPU time of training and evaluation jobs (h:mm:ss) {_TIMES} price per hour",
        (Column("Domain"), Column("Job"), Column("Run"), Column("GPU"), _GPU_TIME, _AMOUNT),
        [
            (
                Cell(line.domain or "", notes=_notes(line)),
                Cell(LABELS[line.kind]),
                Cell(line.reference or ""),
                _gpu_type(line),
                _gpu_time(line),
                _amount(line),
            )
            for line in lines
        ],
        [_subtotal(lines, _NONE, _NONE, _NONE, _gpu_sum(lines))],
    )


def _fees(lines: Sequence[Line]) -> Table:
    return make_table(
        "What belongs to no single request; an amount given back is negative",
        (Column("What"), Column("Concerns"), Column("Reference"), Column("Note"), _AMOUNT),
        [
            (
                Cell(LABELS[line.kind]),
                _concerns(line),
                Cell(line.reference or ""),
                Cell(line.note),
                _amount(line),
            )
            for line in lines
        ],
        [_subtotal(lines, _NONE, _NONE, _NONE)],
    )


def _late(lines: Sequence[Line]) -> Table:
    no_tokens = (_NONE,) * len(_TOKENS)
    return make_table(
        "Records that arrived after their month was closed, at the prices of their day",
        (Column("What"), Column("Used in"), Column("Pool"), *_TOKENS, _GPU_TIME, _AMOUNT),
        [
            (
                Cell(_subject(line), notes=(LABELS[line.kind], *_about(line), *_notes(line))),
                Cell(month_name(line.month)),
                _pool(line),
                *(_token_cells(line) if line.kind == "tokens" else no_tokens),
                _gpu_time(line) if line.gpu_ms else _NONE,
                _amount(line),
            )
            for line in lines
        ],
        [_subtotal(lines, _NONE, _NONE, *no_tokens, _NONE)],
    )


def _subtotal(lines: Iterable[Line], *cells: Cell) -> Row:
    return (Cell("Subtotal"), *cells, amount_cell(money.add(line.amount for line in lines)))


def _amount(line: Line) -> Cell:
    return amount_cell(line.amount)


def _subject(line: Line) -> str:
    return line.served_model or line.domain or line.reference or LABELS[line.kind]


def _adapter(line: Line) -> Cell:
    return Cell(_subject(line), notes=(*_about(line), *_notes(line), *_wasted(line.counts)))


def _about(line: Line) -> tuple[str, ...]:
    named = (
        ("domain", line.domain if line.served_model else None),
        ("version", line.version),
        ("arm", line.experiment),
        ("run", line.reference),
    )
    text = " · ".join(f"{name}{NO_BREAK}{value}" for name, value in named if value)
    return (text,) if text else ()


def _notes(line: Line) -> tuple[str, ...]:
    priced = (f"prices from {line.price_from}",) if line.price_from else ()
    return (*priced, line.note) if line.note else priced


def _pool(line: Line) -> Cell:
    return Cell(line.pool or "")


def _wasted(counts: Counts) -> tuple[str, ...]:
    tokens_in, tokens_out = counts.wasted_input_tokens, counts.wasted_output_tokens
    if not tokens_in and not tokens_out:
        return ()
    return (
        "thrown away by the cascade, not billed: "
        f"{count(tokens_in)} slm tokens in, {count(tokens_out)} out",
    )


def _token_cells(line: Line) -> tuple[Cell, ...]:
    counts = line.counts
    not_billed = ((counts.failed, "failed"), (counts.unmeasured, "unmeasured"))
    parts = (
        (counts.input_tokens - counts.cached_tokens, line.input_amount),
        (counts.cached_tokens, line.cached_amount),
        (counts.output_tokens, line.output_amount),
    )
    return (
        Cell(
            count(counts.requests),
            notes=tuple(f"{count(number)} {what}" for number, what in not_billed if number),
        ),
        *(Cell(count(tokens), notes=_priced(tokens, cost)) for tokens, cost in parts),
    )


def _priced(tokens: int, cost: Decimal) -> tuple[str, ...]:
    if not tokens:
        return ()
    price = unit_price(cost, tokens)
    return (f"{_TIMES} {amount_text(price)} / M", f"= {amount_text(cost)}")


def _token_sums(lines: Sequence[Line]) -> Row:
    total = sums.total(line.counts for line in lines)
    return (
        Cell(count(total.requests)),
        Cell(count(total.input_tokens - total.cached_tokens)),
        Cell(count(total.cached_tokens)),
        Cell(count(total.output_tokens)),
    )


def _gpu_type(line: Line) -> Cell:
    return Cell(line.gpu_type or "", notes=(line.price_class,) if line.price_class else ())


def _gpu_time(line: Line) -> Cell:
    price = "not charged" if line.gpu_hour is None else f"{_TIMES} {amount_text(line.gpu_hour)} / h"
    return Cell(gpu_time(line.gpu_ms), notes=(price,))


def _gpu_sum(lines: Iterable[Line]) -> Cell:
    return Cell(gpu_time(sum(line.gpu_ms for line in lines)))


def _concerns(line: Line) -> Cell:
    parts = (month_name(line.month), line.domain, line.served_model, line.pool)
    counts = line.counts
    given = ((counts.input_tokens, "tokens in"), (counts.output_tokens, "tokens out"))
    return Cell(
        " · ".join(part for part in parts if part),
        notes=tuple(f"{count(number)} {what}" for number, what in given if number),
    )
