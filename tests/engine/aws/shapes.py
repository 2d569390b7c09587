"""Between the names and shapes of Pulumi's properties and those of the AWS API."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.engine.aws.values import Plain


def capitalised(value: Any) -> Any:
    """`{"cidrBlock": 1}` as `{"CidrBlock": 1}`, all the way down; None is left out."""
    return _renamed(value, lambda key: key[:1].upper() + key[1:])


def lowered(value: Any) -> Any:
    """`{"CidrBlock": 1}` as `{"cidrBlock": 1}`, all the way down."""
    return _renamed(value, lambda key: key[:1].lower() + key[1:])


def some(properties: Mapping[str, Any], *keys: str) -> Plain:
    """Those of the properties that are there."""
    return {key: properties[key] for key in keys if properties.get(key) is not None}


def renamed(properties: Mapping[str, Any], names: Mapping[str, str]) -> Plain:
    """Properties under the names that another side gives them."""
    return {names.get(key, key): value for key, value in properties.items()}


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Tags as most of the AWS API takes them."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tags_of(listed: Iterable[Mapping[str, str]] | None) -> Plain:
    """The properties `tags` and `tagsAll` of a list of the AWS API."""
    return tagged({tag["Key"]: tag["Value"] for tag in listed or ()})


def tagged(tags: Mapping[str, str] | None) -> Plain:
    """The properties `tags` and `tagsAll`."""
    return {"tags": dict(tags or {}), "tagsAll": dict(tags or {})}


def gone(old: Mapping[str, Any], new: Mapping[str, Any], key: str = "tags") -> list[str]:
    """Keys of a mapping that the new inputs lack."""
    return sorted(set(old.get(key) or {}) - set(new.get(key) or {}))


def changed(old: Mapping[str, Any], new: Mapping[str, Any], *keys: str) -> bool:
    """Whether one of the inputs is another one."""
    return any(old.get(key) != new.get(key) for key in keys)


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {
            rename(key): _renamed(item, rename) for key, item in value.items() if item is not None
        }
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    return value
