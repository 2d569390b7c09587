"""The versioned price table."""

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from registry import documents
from serving.billing import months
from serving.billing.codec import to_json
from serving.billing.errors import BillingError
from serving.billing.usage import PriceClass

MAX_DECIMALS: Final = 6
"""Digits after the point that a price may have, so that a token's price has 12 at most."""
ANY_CUSTOMER: Final = "*"
"""Key under `customers` for whoever is not listed by name."""


def _no_float(value: object) -> object:
    # 0.1 is not a tenth in binary: a price must arrive as the digits that somebody wrote.
    if isinstance(value, float | bool):
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
Tokens = Annotated[int, Field(ge=0, strict=True)]
_Name = Annotated[str, StringConstraints(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PoolPrices(_Model):
    """Prices of one pool; those of tokens are per million."""

    input: Price
    """Input tokens that the prefix cache did not hold."""
    cached_input: Price
    """Input tokens taken from the prefix cache."""
    output: Price
    gpu_hour: Price | None = None
    """One hour of one GPU: charged for what customers used, and the value of what nobody used.
    Without it GPU time is shown and costs nothing."""


class RunPrices(_Model):
    """Prices of an hour of one GPU for training and evaluation jobs, by how it was bought."""

    spot: Price
    on_demand: Price = Field(alias="on-demand")

    def of(self, price_class: PriceClass) -> Decimal:
        """Return the price of one class."""
        return self.spot if price_class == "spot" else self.on_demand


class FreeTokens(_Model):
    """Tokens of one pool that cost nothing, for each month."""

    input: Tokens = 0
    output: Tokens = 0


class CustomerTerms(_Model):
    """What was agreed with one customer, for each month."""

    monthly_fee: Price = Decimal(0)
    minimum: Price = Decimal(0)
    """What an invoice comes to at least, before notes; the fee counts towards it."""
    free_tokens: dict[_Name, FreeTokens] = Field(default_factory=dict)


NO_TERMS: Final = CustomerTerms()


class PricePeriod(_Model):
    """Prices that hold from the start of a UTC day until the next period."""

    from_day: dt.date = Field(alias="from")
    pools: dict[_Name, PoolPrices] = Field(min_length=1)
    runs: dict[_Name, RunPrices] = Field(default_factory=dict)
    """By GPU type."""
    customers: dict[_Name, CustomerTerms] | None = None
    """By name. Without the key every customer is billed; with it, only those in it."""

    @model_validator(mode="after")
    def _known_pools(self) -> Self:
        for name, terms in (self.customers or {}).items():
            for pool in terms.free_tokens:
                if pool not in self.pools:
                    raise ValueError(
                        f"customers.{name}.free_tokens.{pool}: there is no such pool; "
                        f"there are {', '.join(sorted(self.pools))}"
                    )
        return self

    @property
    def digest(self) -> str:
        """`sha256:…` of what it says; two ways to write an amount are the same."""
        return documents.digest(to_json(self.model_dump(by_alias=True)))

    def pool(self, name: str) -> PoolPrices:
        """Return the prices of a pool.

        Raises:
            BillingError: There are none.
        """
        if name not in self.pools:
            raise BillingError(
                f"no price for pool {name!r} from {self.from_day} on; "
                f"the table has {', '.join(sorted(self.pools))}"
            )
        return self.pools[name]

    def run(self, gpu_type: str) -> RunPrices:
        """Return the prices of jobs on a GPU type.

        Raises:
            BillingError: There are none.
        """
        if gpu_type not in self.runs:
            raise BillingError(
                f"no price for jobs on GPU {gpu_type!r} from {self.from_day} on; "
                f"`runs` has {', '.join(sorted(self.runs)) or 'none'}"
            )
        return self.runs[gpu_type]

    def terms(self, customer: str) -> CustomerTerms | None:
        """Return what was agreed with a customer; None when it is unknown and not billed."""
        if self.customers is None:
            return NO_TERMS
        return self.customers.get(customer) or self.customers.get(ANY_CUSTOMER)


class PriceTable(_Model):
    """All prices, oldest period first."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    prices: tuple[PricePeriod, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        days = [period.from_day for period in self.prices]
        for earlier, later in itertools.pairwise(days):
            if later == earlier:
                raise ValueError(f"two periods begin on {later}: a day has one set of prices")
            if later < earlier:
                raise ValueError(f"`from: {later}` follows {earlier}: put the oldest day first")
        return self

    @property
    def digest(self) -> str:
        """`sha256:…` of the table's values."""
        return documents.digest(self.model_dump(mode="json", by_alias=True))

    def digests_of(self, month: str) -> dict[str, str]:
        """Return the digest of each period that a month has a day in, by the period's first day."""
        days = months.days(month)
        ends = [period.from_day for period in self.prices[1:]] + [dt.date.max]
        return {
            period.from_day.isoformat(): period.digest
            for period, end in zip(self.prices, ends, strict=True)
            if period.from_day <= days[-1] and end > days[0]
        }

    @property
    def begins(self) -> dt.date:
        """The first day that has prices."""
        return self.prices[0].from_day

    def at(self, day: dt.date) -> PricePeriod:
        """Return the period that a UTC day falls in.

        Raises:
            BillingError: The day is before the first period.
        """
        for period in reversed(self.prices):
            if period.from_day <= day:
                return period
        raise BillingError(
            f"no price for {day}: the table begins on {self.begins}; "
            "add a period that covers the day"
        )


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error: of two prices, neither is right."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  as the base class
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is there twice: keep one", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_prices(path: Path) -> PriceTable:
    """Read a price table from YAML.

    Raises:
        BillingError: The file is missing, is not YAML or is not a price table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BillingError(f"{path}: cannot be read: {error}") from error
    try:
        values: Any = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
        return PriceTable.model_validate(values)
    except yaml.YAMLError as error:
        raise BillingError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        raise BillingError(f"{path}: {_first_error(error)}") from error


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    # A whole section says nothing that its key does not.
    return f"{key}: {message}" + ("" if isinstance(found, dict) else f" (found {found!r})")
