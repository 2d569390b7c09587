"""Numbers and names as a reader of an invoice expects them; the same on every machine. No I/O."""

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact
from typing import Final

from serving.billing import money
from serving.billing.errors import BillingError

NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_NEVER_ROUND: Final = Context(prec=60, traps=[Inexact])
_MINUS: Final = "\N{MINUS SIGN}"
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


def count(value: int) -> str:
    """Write a whole number with thousands separators."""
    return signed(f"{value:,}")


def signed(text: str) -> str:
    """Write a number's hyphen as the minus sign that it stands for."""
    return text.replace("-", _MINUS)


def amount(value: Decimal) -> tuple[str, str]:
    """Write an amount in full, as the digits up to the cents and those beyond.

    The second text is empty where the amount has no more than two decimals.
    """
    whole, _, fraction = f"{value.copy_abs():,f}".partition(".")
    fraction = fraction.rstrip("0")
    sign = _MINUS if value < 0 else ""
    return f"{sign}{whole}.{fraction[:2]:0<2}", fraction[2:]


def amount_text(value: Decimal) -> str:
    """Write an amount in full as one text."""
    return "".join(amount(value))


def gpu_time(milliseconds: int) -> str:
    """Write GPU time as hours, minutes, seconds and milliseconds: exact, so that columns add up."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{seconds:02}.{rest:03}"


def unit_price(cost: Decimal, tokens: int) -> Decimal:
    """Return the price per million tokens that a cost was made with.

    Raises:
        BillingError: The cost is no price times the tokens; no page may show one as if it were.
    """
    try:
        return _NEVER_ROUND.divide(_NEVER_ROUND.multiply(cost, money.MILLION), Decimal(tokens))
    except Inexact as error:
        raise BillingError(f"{cost} for {tokens} tokens was not made with one price") from error


def tenths(parts: Sequence[int]) -> list[int]:
    """Return each part's share of their sum in tenths of a per cent.

    The shares add up to 1000 (largest remainder), or are all zero where the parts are.
    """
    total = sum(parts)
    if not total:
        return [0] * len(parts)
    made = [part * 1000 // total for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(parts[i] * 1000 % total), i))
    for index in by_remainder[: 1000 - sum(made)]:
        made[index] += 1
    return made


def percent(share: int) -> str:
    """Write a share in tenths of a per cent."""
    return f"{share // 10}.{share % 10} %"


def month_name(month: str) -> str:
    """Write `2026-11` as November 2026."""
    year, number = month.split("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


def printable(text: str) -> str:
    """Replace what would not show or would reorder a line.

    These are control and bidirectional characters, line ends and lone surrogates.
    """
    return "".join(
        char if char.isprintable() or char == NO_BREAK else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def css_string(text: str) -> str:
    """Write a text as the inside of a CSS string: all but ASCII letters and digits as escapes."""
    return "".join(
        char if char.isascii() and char.isalnum() else f"\\{ord(char):x} "
        for char in printable(text)
    )
