"""Between what the engine sends and plain Python values."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

Plain = dict[str, Any]

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's mark of a text that is not known yet."""
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"


def plain(values: struct_pb2.Struct) -> Plain:
    """Plain values; whole numbers as int."""
    return {key: _whole(value) for key, value in MessageToDict(values).items()}


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """What the engine reads; None is left out."""
    return ParseDict(_present(values), struct_pb2.Struct())


def has_unknown(value: Any) -> bool:
    """Whether anything inside is not known yet."""
    if isinstance(value, Mapping):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return bool(value == UNKNOWN)


def merged(found: Mapping[str, Any], inputs: Mapping[str, Any]) -> Plain:
    """Inputs as they were written, and beside them what AWS has added, at every depth."""
    return {**found, **{key: _added(found.get(key), value) for key, value in inputs.items()}}


def _added(found: Any, value: Any) -> Any:
    both = isinstance(found, Mapping) and isinstance(value, Mapping)
    return merged(found, value) if both else value


def bare(value: Any) -> Any:
    """Values without the wrapping that marks secrets and outputs."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get(_SIGNATURE) in {_SECRET, _OUTPUT}:
        return bare(value.get("value", UNKNOWN))
    return {key: bare(item) for key, item in value.items()}


def inside(value: Any) -> Any:
    """What a mark of a secret or output is around, to be changed in place."""
    while isinstance(value, dict) and value.get(_SIGNATURE) in {_SECRET, _OUTPUT}:
        value = value.get("value", UNKNOWN)
    return value


def resource_reference(urn: str, identity: str) -> Plain:
    """A resource as the value of a property."""
    return {_SIGNATURE: _RESOURCE, "urn": urn, "id": identity}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _present(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _present(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_present(item) for item in value]
    return value
