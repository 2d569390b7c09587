"""What customers used and are not billed for: named, and not lost. No I/O."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self

from serving.billing import money
from serving.billing.counts import total
from serving.billing.lines import gpu_lines, run_lines, token_lines
from serving.billing.prices import PriceTable
from serving.billing.statement import Invoice
from serving.billing.usage import Attention, GpuRow, RunRow, UsageRow

UNKNOWN_CUSTOMER: Final = "unknown-customer"

Row = UsageRow | GpuRow | RunRow


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
        rows: tuple[Row, ...] = (*self.tokens, *self.gpu, *self.runs)
        return sorted({row.customer for row in rows if row.customer is not None})

    def where(self, accepts: Callable[[Row], bool]) -> "Use":
        """Return the rows that a condition accepts."""
        return Use(
            tuple(filter(accepts, self.tokens)),
            tuple(filter(accepts, self.gpu)),
            tuple(filter(accepts, self.runs)),
        )

    def of(self, customer: str) -> "Use":
        """Return what one of them used."""
        return self.where(lambda row: row.customer == customer)


@dataclass(frozen=True)
class Split:
    """Use, by whether it can be billed."""

    billed: Use
    unknown: Use
    """By customers that the price table does not know on that day."""
    unpriced: Use
    """On days before the price table begins."""

    @classmethod
    def of(cls, use: Use, prices: PriceTable) -> Self:
        """Split what was used, by the prices of each day."""

        def kept(sort: str) -> Use:
            return use.where(lambda row: _sort(row, prices) == sort)

        return cls(kept("billed"), kept("unknown"), kept("unpriced"))


def unknown_customers(use: Use, prices: PriceTable, month: str) -> list[Attention]:
    """Name each unknown customer, with what it used and what that would cost.

    Raises:
        BillingError: A day, pool or GPU type has no price, or counts cannot be.
    """
    return [_attention(name, use.of(name), prices, month) for name in use.customers]


def unpriced_customers(use: Use, prices: PriceTable) -> list[Attention]:
    """Name each customer that used something before the price table begins."""
    return [_unpriced(name, use.of(name), prices) for name in use.customers]


def unmeasured_customers(invoices: Iterable[Invoice]) -> list[Attention]:
    """Name each customer that has requests whose tokens nobody measured; they are not billed."""
    return [
        Attention(
            kind="unmeasured",
            where=invoice.customer,
            detail=(
                f"not billed: the model server never reported the tokens of "
                f"{invoice.counts.unmeasured} of {invoice.counts.requests} requests"
            ),
            requests=invoice.counts.unmeasured,
        )
        for invoice in invoices
        if invoice.counts.unmeasured
    ]


def _sort(row: Row, prices: PriceTable) -> Literal["billed", "unknown", "unpriced"]:
    if row.customer is None:
        return "billed"  # and refused where its line is made
    if row.day < prices.begins:
        return "unpriced"
    return "unknown" if prices.at(row.day).terms(row.customer) is None else "billed"


def _unpriced(customer: str, use: Use, prices: PriceTable) -> Attention:
    counts = total(row.counts for row in use.tokens)
    gpu_ms = sum(row.gpu_ms for row in use.gpu) + sum(row.gpu_ms for row in use.runs)
    return Attention(
        kind="no-price",
        where=customer,
        detail=(
            f"not billed: the price table begins on {prices.begins}; before that day were "
            f"{counts.requests} requests, {counts.input_tokens} input and {counts.output_tokens} "
            f"output tokens and {gpu_ms} GPU-milliseconds; add a period that covers them before "
            "the month is closed"
        ),
        requests=counts.requests,
    )


def _attention(customer: str, use: Use, prices: PriceTable, month: str) -> Attention:
    lines = [
        *token_lines(use.tokens, prices, month),
        *gpu_lines(use.gpu, prices, month),
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
            f"{cost} {prices.currency}; before the month is closed, add the name, in a period "
            "that begins in no closed month"
        ),
        requests=counts.requests,
    )
