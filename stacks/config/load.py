"""From a stack file, or from the engine's configuration, to typed models.

An error names the file, the key, the value and what is allowed.
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from stacks.config.cluster_environment import ClusterEnvironment, refuse_shared_prefixes
from stacks.config.domain import DomainConfig
from stacks.config.environment import EnvironmentConfig


class ConfigError(Exception):
    """A stack configuration that is not valid."""


@dataclass(frozen=True)
class EnvironmentStack:
    """The stack of a local environment."""

    name: str
    environment: EnvironmentConfig


@dataclass(frozen=True)
class ClusterStack:
    """The stack of an environment on Kubernetes."""

    name: str
    environment: ClusterEnvironment


@dataclass(frozen=True)
class DomainStack:
    """A domain stack."""

    name: str
    environment: str
    """Name of the environment stack it lives in."""
    domain: DomainConfig


StackConfig = EnvironmentStack | ClusterStack | DomainStack
_DISCRIMINATORS = ("kind", "target", "source", "mode")
"""Keys that say which form of a union a mapping is."""
AnyModel = TypeVar("AnyModel", bound=BaseModel)

_KEYS = {
    "environment": {"pipeline:kind", "pipeline:environment"},
    "domain": {"pipeline:kind", "pipeline:environment", "pipeline:domain"},
}


def stack_file(directory: Path, stack: str) -> Path:
    """The file of a stack."""
    return directory / f"Pulumi.{stack}.yaml"


def list_stacks(directory: Path) -> list[str]:
    """Names of every stack that has a file."""
    return sorted(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml")
        for path in directory.glob("Pulumi.*.yaml")
    )


def read_stack_file(directory: Path, stack: str) -> dict[str, Any]:
    """The `config` section of a stack file.

    Raises:
        ConfigError: The file is missing, is not YAML, or has no such section.
    """
    path = stack_file(directory, stack)
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        known = ", ".join(list_stacks(directory)) or "none"
        raise ConfigError(f"no stack {stack!r}: {path} does not exist (stacks: {known})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: there is no `config` section")
    return config


def load(directory: Path, stack: str) -> StackConfig:
    """Read and validate a stack file.

    Raises:
        ConfigError: It is not valid.
    """
    return parse(read_stack_file(directory, stack), stack, str(stack_file(directory, stack)))


def parse(config: Mapping[str, Any], stack: str, place: str) -> StackConfig:
    """Validate the `config` section of a stack.

    Args:
        config: Keys `pipeline:kind` and so on.
        stack: The stack's name.
        place: File that errors name.

    Raises:
        ConfigError: It is not valid.
    """
    kind = config.get("pipeline:kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ConfigError(f"{place}: pipeline:kind is {kind!r}, allowed: environment, domain")
    keys = [str(key) for key in config]
    unknown = sorted(k for k in keys if k.startswith("pipeline:") and k not in _KEYS[kind])
    if unknown:
        raise ConfigError(f"{place}: {unknown[0]}: a {kind} stack has no such key")
    if kind == "environment":
        environment = _validate_environment(config, place)
        if environment.name != stack:
            raise ConfigError(
                f"{place}: pipeline:environment.name: is {environment.name!r}, "
                f"the stack is {stack!r}: they must be equal"
            )
        if isinstance(environment, ClusterEnvironment):
            return ClusterStack(stack, environment)
        return EnvironmentStack(stack, environment)
    return _parse_domain(config, stack, place)


def _parse_domain(config: Mapping[str, Any], stack: str, place: str) -> DomainStack:
    environment = config.get("pipeline:environment")
    if not isinstance(environment, str):
        raise ConfigError(
            f"{place}: pipeline:environment: is {environment!r}, "
            "must be the name of the environment stack"
        )
    domain = _validate(DomainConfig, config, "pipeline:domain", place)
    if stack != f"{environment}-{domain.name}":
        raise ConfigError(
            f"{place}: pipeline:domain.name: the stack of domain {domain.name!r} in environment "
            f"{environment!r} is named {environment}-{domain.name}, not {stack}"
        )
    return DomainStack(stack, environment, domain)


def refuse_shared_names(stacks: Iterable[DomainStack]) -> None:
    """Check that each value of X-Customer-Domain means one domain.

    Raises:
        ConfigError: Two stacks claim the same name; the router would give it to neither.
    """
    claimed: dict[str, str] = {}
    for stack in stacks:
        for name in (stack.domain.name, *stack.domain.header_aliases):
            if name in claimed:
                raise ConfigError(
                    f"pipeline:domain.header_aliases: {name!r} is claimed by both "
                    f"{claimed[name]} and {stack.name}: remove it from one"
                )
            claimed[name] = stack.name


def refuse_clashes(stacks: Iterable[StackConfig]) -> None:
    """Check what no stack file can say alone: that two do not claim the same names.

    Raises:
        ConfigError: Two domains of one environment claim a value of X-Customer-Domain, or two
            environments of one account a prefix.
    """
    loaded = list(stacks)
    domains = [stack for stack in loaded if isinstance(stack, DomainStack)]
    for environment in sorted({domain.environment for domain in domains}):
        refuse_shared_names(each for each in domains if each.environment == environment)
    try:
        refuse_shared_prefixes(
            stack.environment for stack in loaded if isinstance(stack, ClusterStack)
        )
    except ValueError as error:
        raise ConfigError(f"pipeline:environment.{error}") from error


def _validate_environment(
    config: Mapping[str, Any], place: str
) -> EnvironmentConfig | ClusterEnvironment:
    """Validate by the model that the cluster's kind calls for."""
    key = "pipeline:environment"
    value = config.get(key)
    if isinstance(value, str):
        value = _from_json(value, f"{place}: {key}")
    cluster = value.get("cluster") if isinstance(value, dict) else None
    kind = cluster.get("kind") if isinstance(cluster, dict) else None
    if kind == "local":
        return _validate(EnvironmentConfig, config, key, place)
    if kind in {"eks", "existing"}:
        return _validate(ClusterEnvironment, config, key, place)
    raise ConfigError(
        f"{place}: {key}.cluster.kind: is {_shown(kind)}, allowed: local, eks, existing"
    )


def _validate(model: type[AnyModel], config: Mapping[str, Any], key: str, place: str) -> AnyModel:
    value = config.get(key)
    if isinstance(value, str):
        value = _from_json(value, f"{place}: {key}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors()
        unknown = {details["loc"][:-1] for details in found if details["loc"][-1:] == ("[key]",)}
        lines = [
            _line(place, key, details, value)
            for details in found
            if not _noise(details) and not _below(details["loc"], unknown)
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _noise(details: Any) -> bool:
    """A mapping is never meant as the word that a union allows beside it."""
    return details["type"] == "literal_error" and isinstance(details["input"], dict)


def _below(path: tuple[int | str, ...], unknown: Set[tuple[int | str, ...]]) -> bool:
    """Whether an error is about what a key holds that should not be there at all."""
    return path[-1:] != ("[key]",) and any(path[: len(each)] == each for each in unknown)


def _from_json(text: str, where: str) -> Any:
    """The engine hands structured values over as JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: must be a mapping (is {_shown(text)})") from error


def _line(place: str, key: str, details: Any, value: object) -> str:
    where, kind = ".".join([key, *_keys(details, value)]), details["type"]
    if kind == "extra_forbidden":
        return f"{place}: {where}: unknown key"
    if kind.startswith("union_tag"):
        return f"{place}: {where}.{_about_tag(details)}"
    message = details["msg"].removeprefix("Value error, ")
    if kind == "model_type":
        message = "must be a mapping"
    is_whole = kind == "missing" or isinstance(details["input"], dict)
    shown = "" if is_whole else f" (is {_shown(details['input'])})"
    return f"{place}: {where}: {message}{shown}"


def _keys(details: Any, value: Any) -> list[str]:
    """The keys of the file that lead to an error.

    Pydantic's path also has which form of a union was tried: the value of its discriminator right
    after the union's own key, or a name such as `Training`. The file knows them as no keys.
    """
    path: tuple[int | str, ...] = details["loc"]
    found: list[str] = []
    entered = False
    for number, part in enumerate(path):
        is_missing = details["type"] == "missing" and number == len(path) - 1
        if entered and isinstance(value, dict) and part in _tags(value) and not is_missing:
            entered = False
            continue
        if _holds(value, part):
            value, entered = value[part], True
        elif not is_missing:
            continue
        found.append(str(part))
    return found


def _holds(value: object, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _tags(value: Mapping[str, Any]) -> list[object]:
    return [value[key] for key in _DISCRIMINATORS if key in value]


def _about_tag(details: Any) -> str:
    context = details["ctx"]
    discriminator = context["discriminator"].strip("'")
    if details["type"] == "union_tag_not_found":
        return f"{discriminator}: Field required"
    allowed = context["expected_tags"].replace("'", "")
    return f"{discriminator}: is {context['tag']!r}, allowed: {allowed}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
