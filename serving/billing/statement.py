"""A month's statement: one invoice for each customer, and what belongs to nobody. No I/O.

Amounts are exact decimals, and tuples are sorted: the same usage gives the same statement.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from serving.billing.usage import NO_COUNTS, Attention, Counts, Orphan, PriceClass

LineKind = Literal[
    "tokens",
    "gpu_time",
    "training",
    "evaluation",
    "flat_fee",
    "free_tier",
    "minimum",
    "credit",
    "debit",
]
NOTE_KINDS: Final[tuple[LineKind, ...]] = ("credit", "debit")
"""Corrections of closed months; each is on the invoice of a later one."""


@dataclass(frozen=True)
class Line:
    """One line of an invoice; amounts are exact and negative for what is given back."""

    kind: LineKind
    customer: str
    amount: Decimal
    month: str
    """`YYYY-MM` of the use; an earlier one than the statement's for what arrived late. For a
    note, the month that it corrects."""
    domain: str | None = None
    served_model: str | None = None
    version: str | None = None
    pool: str | None = None
    experiment: str | None = None
    price_from: dt.date | None = None
    """First day of the prices that the line was made with."""
    counts: Counts = NO_COUNTS
    """For `tokens`: what was used. For `free_tier`: the tokens that it gives back."""
    input_amount: Decimal = Decimal(0)
    """For `tokens` and `free_tier`: what the input tokens outside the prefix cache cost; the three
    add up to the amount."""
    cached_amount: Decimal = Decimal(0)
    output_amount: Decimal = Decimal(0)
    gpu_ms: int = 0
    gpu_hour: Decimal | None = None
    """Price of an hour of one GPU; None where its time is shown and not charged."""
    gpu_type: str | None = None
    price_class: PriceClass | None = None
    reference: str | None = None
    """Id of a run or note."""
    note: str = ""


@dataclass(frozen=True)
class Invoice:
    """What one customer owes for a month."""

    customer: str
    lines: tuple[Line, ...]
    cost: Decimal
    """Exact sum of the lines."""
    due: Decimal
    """The same, rounded once to 0.01, half to even."""
    counts: Counts
    """Sum of the `tokens` lines."""
    gpu_ms: int
    """Sum of the `gpu_time` lines; jobs are not in it."""
    pool_requests: Mapping[str, int]
    all_llm_amount: Decimal | None
    """What the same tokens would have cost in pool `llm`; None where it has no prices."""
    saved: Decimal | None
    """`all_llm_amount` less what the tokens did cost, wasted ones at the prices of `slm` included
    (they are not billed). Free tiers, GPU time and fees are left out on both sides."""


@dataclass(frozen=True)
class PlatformLine:
    """GPU time that no customer is billed for."""

    kind: Literal["idle", "unmeasured", "unbilled", "late"]
    """`unbilled`: used by a customer that the price table does not know. `late`: of an earlier
    month, reported after that was closed."""
    pool: str
    gpu_type: str
    price_class: PriceClass
    gpu_ms: int
    amount: Decimal


@dataclass(frozen=True)
class DayTotal:
    """One day of one customer and pool, for charts; what arrived late is in none."""

    day: dt.date
    customer: str
    pool: str
    counts: Counts
    gpu_ms: int


@dataclass(frozen=True)
class Statement:
    """One UTC month of an environment."""

    month: str
    environment: str
    currency: str
    closed: bool
    invoices: tuple[Invoice, ...]
    platform: tuple[PlatformLine, ...]
    days: tuple[DayTotal, ...]
    orphans: tuple[Orphan, ...]
    attention: tuple[Attention, ...]
    total_due: Decimal
    """Sum of what the customers owe, each rounded."""
    price_digest: str
    parts: Mapping[str, str]
    """Digest of each day part, by ISO day."""
    previous: str | None
    """Digest of the month closed before this one."""
