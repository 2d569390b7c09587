"""The versioned price table."""

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from serving.billing.errors import BillingError

MAX_DECIMALS = 6
"""Digits after the point that a price may have, so that a token's price has 12 at most."""


def _no_float(value: object) -> object:
    # 0.1 is not a tenth in binary: a price must arrive as the digits that somebody wrote.
    if isinstance(value, float):
        # pydantic reports a ValueError with its place in the file
        raise ValueError(f'write the price in quotes: "{value}"')  # noqa: TRY004
    return value


def _short(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > MAX_DECIMALS:
        raise ValueError(f"at most {MAX_DECIMALS} digits after the point")
    return value


Price = Annotated[
    Decimal, BeforeValidator(_no_float), Field(ge=0, lt=10**9), AfterValidator(_short)
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PoolPrices(_Model):
    """Prices of one pool, per million tokens."""

    input: Price
    """Input tokens that the prefix cache did not hold."""
    cached_input: Price
    """Input tokens taken from the prefix cache."""
    output: Price


class PricePeriod(_Model):
    """Prices that hold from the start of a UTC day until the next period."""

    from_day: dt.date = Field(alias="from")
    pools: dict[str, PoolPrices] = Field(min_length=1)


class PriceTable(_Model):
    """All prices, oldest period first."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    prices: tuple[PricePeriod, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> "PriceTable":
        days = [period.from_day for period in self.prices]
        for earlier, later in itertools.pairwise(days):
            if later <= earlier:
                raise ValueError(f"`from: {later}` follows {earlier}: put the oldest day first")
        return self

    def at(self, day: dt.date) -> PricePeriod:
        """Return the period that a UTC day falls in.

        Raises:
            BillingError: when the day is before the first period.
        """
        for period in reversed(self.prices):
            if period.from_day <= day:
                return period
        raise BillingError(
            f"no price for {day}: the table begins on {self.prices[0].from_day}; "
            "add a period that covers the day"
        )


def read_prices(path: Path) -> PriceTable:
    """Read a price table from YAML.

    Raises:
        BillingError: when the file is missing, is not YAML or is not a price table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BillingError(f"{path}: cannot be read: {error}") from error
    try:
        values: Any = yaml.safe_load(text)
        return PriceTable.model_validate(values)
    except yaml.YAMLError as error:
        raise BillingError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BillingError(f"{path}: {key}: {first['msg']} (found {first['input']!r})") from error
