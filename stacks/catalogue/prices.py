"""Prices of machines, for estimates (`prices.yaml`)."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from stacks.config.base import Config

_FILE = Path(__file__).with_name("prices.yaml")

Dollars = Annotated[Decimal, Field(ge=0)]


class GuidePrice(Config):
    """What the guide says of an instance type, USD an hour."""

    on_demand: Dollars = Field(alias="on-demand")
    spot: Dollars


class Guide(Config):
    """The guide's figures, USD."""

    instances: Mapping[str, GuidePrice]
    llm_month: Dollars
    slm_month: Dollars
    cascade_month: Dollars
    adapters_once: Dollars


class PriceTable(Config):
    """List prices at one day, in one region."""

    as_of: dt.date
    region: str
    instances: Mapping[str, Dollars]
    """On-demand, USD an hour."""
    control_plane: Dollars
    """USD an hour."""
    nat_gateway: Dollars
    """USD an hour, without traffic."""
    guide: Guide

    def hour(self, instance: str) -> Decimal | None:
        """USD an hour, on-demand; None for a type that the table lacks."""
        return self.instances.get(instance)


@cache
def price_table() -> PriceTable:
    """The table that the project ships."""
    return PriceTable.model_validate(yaml.safe_load(_FILE.read_text()))
