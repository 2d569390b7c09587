"""Checks Kubernetes objects against the types of pulumi_kubernetes and the rules of the API server.

The types say which fields exist, which are needed and what is in them. Rules about values are those
of the API conventions that fit in a line; admission and defaulting need an API server.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Union, get_args, get_origin

import pulumi
from pulumi import _types
from pulumi.runtime.rpc import unwrap_rpc_secret
from pulumi_kubernetes import helm

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
_QUANTITY_KEYS = {"requests", "limits"}
_CUSTOM = (
    "cert-manager.io",
    "external-secrets.io",
    "gateway.",
    "keda.sh",
    "monitoring.coreos.com",
)
"""Groups of custom resources."""


def check(type_: str, inputs: Mapping[str, Any]) -> None:
    """Check one object.

    Args:
        type_: Its type token, such as `kubernetes:batch/v1:CronJob`.
        inputs: What the provider would be given.

    Raises:
        AssertionError: A field does not exist, is missing, or has a value that cannot be.
    """
    _, group, kind = type_.split(":")
    if group.startswith("helm.sh"):
        # A release: not an object, and what is in it only its chart knows.
        _check_fields(helm.v3.ReleaseArgs, inputs, kind)
        return
    if group.startswith(_CUSTOM):
        # A custom resource: pulumi_kubernetes knows its frame only.
        assert {"apiVersion", "kind", "metadata", "spec"} == set(inputs)
    else:
        name, version = group.split("/")
        module = import_module(f"pulumi_kubernetes.{name.split('.')[0]}.{version}.{kind}")
        # Of a patch, which is nowhere part of another object, the arguments have the shorter name.
        end = "Args" if kind.endswith("Patch") else "InitArgs"
        _check_fields(getattr(module, f"{kind}{end}"), inputs, kind)
    _check_metadata(inputs["metadata"], kind)
    _check_quantities(inputs, kind)


def _check_fields(cls: type, value: Mapping[str, Any], place: str) -> None:
    names = _types.input_type_py_to_pulumi_names(cls)
    types = _types.input_type_types(cls)
    by_field = {names.get(name, name): types[name] for name in types}
    unknown = set(value) - set(by_field)
    assert not unknown, f"{place}: no field {sorted(unknown)}"
    for name, parameter in inspect.signature(cls).parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        assert not needed or names.get(name, name) in value, f"{place}: {name} is missing"
    for name, content in value.items():
        _check_value(by_field[name], content, f"{place}.{name}")


def _check_value(type_: Any, value: Any, place: str) -> None:
    type_, value = _plain(type_), unwrap_rpc_secret(value)
    origin = get_origin(type_)
    if origin is Literal:
        assert value in get_args(type_), f"{place}: {value!r}"
    elif origin is not None and issubclass(origin, Mapping):
        assert isinstance(value, Mapping), f"{place}: {value!r}"
        for key, each in value.items():
            _check_value(get_args(type_)[1], each, f"{place}.{key}")
    elif origin is not None and issubclass(origin, Sequence):
        assert isinstance(value, list), f"{place}: {value!r}"
        for index, each in enumerate(value):
            _check_value(get_args(type_)[0], each, f"{place}[{index}]")
    elif isinstance(type_, type) and _types.is_input_type(type_):
        assert isinstance(value, Mapping), f"{place}: {value!r}"
        _check_fields(type_, value, place)
    elif type_ is int:
        # Numbers travel as floats in Pulumi's protocol.
        assert isinstance(value, int | float), f"{place}: {value!r}"
        assert value == int(value), f"{place}: {value!r}"
    elif type_ in {str, bool}:
        assert isinstance(value, type_), f"{place}: {value!r}"


def _plain(type_: Any) -> Any:
    """The type without Input, Output and Optional; Any where it may be one of several."""
    while get_origin(type_) is Union or isinstance(type_, type(int | str)):
        inner = [
            each
            for each in get_args(type_)
            if each is not type(None) and get_origin(each) is not pulumi.Output
        ]
        inner = [each for each in inner if "Awaitable" not in str(each)]
        typed = [each for each in inner if isinstance(each, type) and _types.is_input_type(each)]
        if len(inner) != 1 and len(typed) != 1:
            return Any
        type_ = typed[0] if len(typed) == 1 else inner[0]
    return type_


def _check_metadata(metadata: Mapping[str, Any], kind: str) -> None:
    name = metadata.get("name")
    assert name is None or _SUBDOMAIN.fullmatch(name), f"{kind}: name {name!r}"
    is_in_namespace = bool(metadata.get("namespace"))
    cluster_wide = kind.startswith(("Cluster", "Namespace", "StorageClass"))
    assert is_in_namespace != cluster_wide, f"{kind} is in no namespace, or cannot be"
    for key, value in metadata.get("labels", {}).items():
        assert _LABEL_KEY.fullmatch(key), f"{kind}: label {key!r}"
        assert _LABEL_VALUE.fullmatch(value), f"{kind}: label {key}={value!r}"


def _check_quantities(value: Any, place: str) -> None:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in _QUANTITY_KEYS and isinstance(each, Mapping):
                for resource, quantity in each.items():
                    assert _QUANTITY.fullmatch(quantity), f"{place}.{key}.{resource}: {quantity!r}"
            _check_quantities(each, f"{place}.{key}")
    elif isinstance(value, list):
        for each in value:
            _check_quantities(each, place)
