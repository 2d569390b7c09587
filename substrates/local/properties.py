"""Between the engine's property values and plain Python values."""

from collections.abc import Mapping
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue, PropertyValueType


def is_computed(value: PropertyValue) -> bool:
    """Whether the engine does not know the value yet (only in previews)."""
    return value.type is PropertyValueType.COMPUTED


def to_plain(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    """Plain values; secrets in the clear, whole numbers as int."""
    return {key: _plain(value) for key, value in values.items()}


def to_values(
    plain: Mapping[str, Any], *, like: Mapping[str, PropertyValue]
) -> dict[str, PropertyValue]:
    """Property values; what is secret in `like` is secret in the result."""
    return {
        key: _value(value).with_secret(key in like and like[key].contains_secret())
        for key, value in plain.items()
    }


def _plain(value: PropertyValue) -> Any:
    inner = value.value
    if isinstance(inner, Mapping):
        return {key: _plain(item) for key, item in inner.items()}
    if isinstance(inner, list | tuple):
        return [_plain(item) for item in inner]
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def _value(plain: Any) -> PropertyValue:
    if isinstance(plain, Mapping):
        return PropertyValue({key: _value(item) for key, item in plain.items()})
    if isinstance(plain, list | tuple):
        return PropertyValue([_value(item) for item in plain])
    if isinstance(plain, int) and not isinstance(plain, bool):
        return PropertyValue(float(plain))
    return PropertyValue(plain)
