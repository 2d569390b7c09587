"""Exact decimals: every amount is made, added and rounded here. No I/O."""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

CENT: Final = Decimal("0.01")
MILLION: Final = Decimal(10**6)
HOUR_MS: Final = Decimal(3_600_000)
ROUNDING_RULE: Final = (
    "Lines are exact; GPU time, whose hour does not divide evenly, is rounded half to even to 12 "
    "digits after the point on each line. Each customer's total is rounded once, half to even, "
    "to 0.01; the sum adds the rounded totals."
)
ZERO: Final = Decimal(0)
_GPU_DIGITS: Final = Decimal("1e-12")
# Enough digits that no sum or product of counts and prices is ever rounded.
_EXACT: Final = Context(prec=60)


def add(values: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = ZERO
    for value in values:
        total = _EXACT.add(total, value)
    return total


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Return the exact difference."""
    return _EXACT.subtract(left, right)


def negative(value: Decimal) -> Decimal:
    """Return what is given back for a value; nothing for nothing, never a negative zero."""
    return _EXACT.subtract(ZERO, value)


def of_tokens(tokens: int, per_million: Decimal) -> Decimal:
    """Return what tokens cost, exactly."""
    return _EXACT.divide(_EXACT.multiply(Decimal(tokens), per_million), MILLION)


def per_million(amount: Decimal, tokens: int) -> Decimal:
    """Return the price of a million tokens that `of_tokens` was given."""
    return _EXACT.divide(_EXACT.multiply(amount, MILLION), Decimal(tokens))


def millions(tokens: int) -> Decimal:
    """Return a count of tokens in millions."""
    return _EXACT.divide(Decimal(tokens), MILLION)


def gpu_hours(gpu_ms: int) -> Decimal:
    """Return GPU time in hours, rounded half to even to 12 digits after the point."""
    hours = _EXACT.divide(Decimal(gpu_ms), HOUR_MS)
    return hours.quantize(_GPU_DIGITS, rounding=ROUND_HALF_EVEN, context=_EXACT)


def of_gpu_time(gpu_ms: int, per_hour: Decimal) -> Decimal:
    """Return what GPU time costs, rounded half to even to 12 digits after the point."""
    amount = _EXACT.divide(_EXACT.multiply(Decimal(gpu_ms), per_hour), HOUR_MS)
    return amount.quantize(_GPU_DIGITS, rounding=ROUND_HALF_EVEN, context=_EXACT)


def round_due(cost: Decimal) -> Decimal:
    """Round what a customer owes, once, half to even, to 0.01."""
    rounded = cost.quantize(CENT, rounding=ROUND_HALF_EVEN, context=_EXACT)
    return _EXACT.plus(rounded)  # an amount just below zero becomes 0.00, not -0.00


def plain(value: Decimal) -> str:
    """Write a decimal in full: no exponent, no zeros that say nothing, at least two decimals."""
    text = format(_EXACT.normalize(value), "f")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"
