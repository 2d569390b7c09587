"""Customers that the price table does not know: not billed, and not lost. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from serving.billing import money
from serving.billing.counts import total
from serving.billing.lines import gpu_lines, run_lines, token_lines
from serving.billing.prices import PriceTable
from serving.billing.usage import Attention, GpuRow, RunRow, UsageRow

UNKNOWN_CUSTOMER: Final = "unknown-customer"

_Row = TypeVar("_Row", UsageRow, GpuRow, RunRow)


@dataclass(frozen=True)
class Use:
    """What customers used."""

    tokens: tuple[UsageRow, ...]
    gpu: tuple[GpuRow, ...]
    """Rows of kind `used`."""
    runs: tuple[RunRow, ...]

    @property
    def customers(self) -> list[str]:
        """Their names, sorted."""
        rows: tuple[UsageRow | GpuRow | RunRow, ...] = (*self.tokens, *self.gpu, *self.runs)
        return sorted({row.customer for row in rows if row.customer is not None})

    def of(self, customer: str) -> "Use":
        """Return what one of them used."""
        return Use(
            tuple(row for row in self.tokens if row.customer == customer),
            tuple(row for row in self.gpu if row.customer == customer),
            tuple(row for row in self.runs if row.customer == customer),
        )


def split_unknown(use: Use, prices: PriceTable) -> tuple[Use, Use]:
    """Return what known customers used and what unknown ones did, by the prices of each day.

    Raises:
        BillingError: A day has no prices.
    """
    known_tokens, unknown_tokens = _split(use.tokens, prices)
    known_gpu, unknown_gpu = _split(use.gpu, prices)
    known_runs, unknown_runs = _split(use.runs, prices)
    return (
        Use(known_tokens, known_gpu, known_runs),
        Use(unknown_tokens, unknown_gpu, unknown_runs),
    )


def unknown_customers(use: Use, prices: PriceTable, month: str) -> list[Attention]:
    """Name each unknown customer, with what it used and what that would cost.

    Raises:
        BillingError: A day, pool or GPU type has no price, or counts cannot be.
    """
    return [_attention(name, use.of(name), prices, month) for name in use.customers]


def _split(rows: Iterable[_Row], prices: PriceTable) -> tuple[tuple[_Row, ...], tuple[_Row, ...]]:
    known: list[_Row] = []
    unknown: list[_Row] = []
    for row in rows:
        # A row of nobody is refused where its line is made.
        is_known = row.customer is None or prices.at(row.day).terms(row.customer) is not None
        (known if is_known else unknown).append(row)
    return tuple(known), tuple(unknown)


def _attention(customer: str, use: Use, prices: PriceTable, month: str) -> Attention:
    lines = [
        *token_lines(use.tokens, prices, month),
        *gpu_lines(use.gpu, prices),
        *run_lines(use.runs, prices, month),
    ]
    counts = total(line.counts for line in lines)
    cost = money.plain(money.add(line.amount for line in lines))
    return Attention(
        kind=UNKNOWN_CUSTOMER,
        where=customer,
        detail=(
            f"not billed: `customers` in the price table has no such name; {counts.requests} "
            f"requests, {counts.input_tokens} input and {counts.output_tokens} output tokens and "
            f"{sum(line.gpu_ms for line in lines)} GPU-milliseconds would cost "
            f"{cost} {prices.currency}; add the name before the month is closed"
        ),
        requests=counts.requests,
    )
