"""Statements and closed months as JSON values and back, without loss. No I/O."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from serving.billing.errors import BillingError
from serving.billing.money import plain

Parsed = TypeVar("Parsed")


def to_json(value: Any) -> Any:
    """Return JSON values, in the order of the fields; amounts are strings, which nothing rounds."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    return value


def from_json(kind: TypeAdapter[Parsed], values: Any, place: str) -> Parsed:
    """Read a dataclass back; `place` is what an error names.

    Raises:
        BillingError: The values are not one.
    """
    try:
        return kind.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BillingError(f"{place}: {key}: {first['msg']}") from error
