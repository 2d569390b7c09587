"""Is this directory an adapter that a pool can serve? Needs safetensors and torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import RegistryError
from registry.layout import ADAPTER_CONFIG, ADAPTER_FILES, ADAPTER_WEIGHTS

ModuleShape = tuple[int, ...]
"""Outputs and inputs of a linear module."""


@dataclass(frozen=True)
class AdapterFacts:
    """What the files themselves say."""

    rank: int
    target_modules: tuple[str, ...]


def check_adapter(
    directory: Path, *, rank: int, base_modules: Mapping[str, ModuleShape]
) -> AdapterFacts:
    """Refuse an adapter that would not load, or would load and do nothing.

    Args:
        directory: Holds adapter_model.safetensors and adapter_config.json in PEFT's format.
        rank: The rank that the release declares.
        base_modules: Shapes of the base model's linear modules by name, such as `q_proj`.

    Raises:
        RegistryError: Names the file and what is wrong with it.
    """
    for name in ADAPTER_FILES:
        if not (directory / name).is_file():
            raise RegistryError(f"adapter {directory}: {name} is missing")
    config = _read_config(directory / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise RegistryError(
            f"{ADAPTER_CONFIG}: peft_type is {config.get('peft_type')!r}, not 'LORA'"
        )
    if config.get("r") != rank:
        raise RegistryError(f"{ADAPTER_CONFIG}: rank r is {config.get('r')!r}, declared is {rank}")
    modules = tuple(sorted(config.get("target_modules") or ()))
    foreign = [module for module in modules if module not in base_modules]
    if foreign or not modules:
        raise RegistryError(
            f"{ADAPTER_CONFIG}: target_modules {list(modules)} are not all modules of the base "
            f"(it has {', '.join(sorted(base_modules))})"
        )
    shapes = {module: base_modules[module] for module in modules}
    _check_weights(directory / ADAPTER_WEIGHTS, rank, shapes)
    return AdapterFacts(rank=rank, target_modules=modules)


def base_linear_modules(model_directory: Path) -> dict[str, ModuleShape]:
    """A base model's projection modules, read from the weights' own names and shapes.

    Raises:
        RegistryError: The directory holds no safetensors weights.
    """
    from safetensors import safe_open  # noqa: PLC0415  only jobs that publish have it

    modules: dict[str, ModuleShape] = {}
    for path in sorted(model_directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  no mapping
                if key.endswith("_proj.weight"):
                    modules[key.split(".")[-2]] = tuple(weights.get_slice(key).get_shape())
    if not modules:
        raise RegistryError(f"base model {model_directory}: no safetensors with projection modules")
    return modules


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RegistryError(f"{path.name}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise RegistryError(f"{path.name}: not a JSON object")
    return config


def _check_weights(path: Path, rank: int, modules: Mapping[str, ModuleShape]) -> None:
    from safetensors import SafetensorError  # noqa: PLC0415  only jobs that publish have it
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise RegistryError(f"{path.name}: truncated or damaged: {error}") from error
    found: set[str] = set()
    silent = True
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise RegistryError(f"{path.name}: tensor {name} has NaN or infinite values")
        for module in [each for each in modules if f".{each}." in name]:
            found.add(module)
            _check_shape(f"{path.name}: {name}", name, tuple(tensor.shape), rank, modules[module])
        silent = silent and (".lora_B." not in name or not bool(tensor.any()))
    missing = sorted(set(modules) - found)
    if missing:
        raise RegistryError(f"{path.name}: no weights for target modules {', '.join(missing)}")
    if silent:
        raise RegistryError(f"{path.name}: every lora_B is zero: the adapter changes nothing")


def _check_shape(
    place: str, name: str, shape: tuple[int, ...], rank: int, module: ModuleShape
) -> None:
    """`lora_A` is (rank, inputs) and `lora_B` (outputs, rank) of the base's (outputs, inputs)."""
    outputs, inputs = module
    expected = (rank, inputs) if ".lora_A." in name else (outputs, rank)
    if rank not in shape:
        raise RegistryError(f"{place} is {shape}: its rank is not the declared {rank}")
    if shape != expected:
        raise RegistryError(
            f"{place} is {shape}, the base model needs {expected}: trained on another base"
        )
