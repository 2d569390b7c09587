"""Instance types that a node group may have (`instances.yaml`)."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from stacks.config.base import Config

_FILE = Path(__file__).with_name("instances.yaml")
_NEAR = 5


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance type."""

    name: str
    vcpu: int
    ram_gib: int
    gpus: int
    gpu: str | None
    """Such as H100; None without GPUs."""
    product: str | None
    """Of each GPU, as on the node label nvidia.com/gpu.product."""
    vram_gib: float
    """Of one GPU; 0 without GPUs. Less than the data sheet says: what AWS reports."""
    efa: int
    """Elastic Fabric Adapter interfaces that it can have; 0 for none."""
    has_blocks: bool
    """Whether Capacity Blocks of it are sold."""
    architecture: Literal["x86_64"] = "x86_64"


class _Gpu(Config):
    product: str
    vram_mib: int = Field(gt=0)


class _Row(Config):
    vcpu: int = Field(gt=0)
    ram_gib: int = Field(gt=0)
    gpus: int = Field(0, ge=0)
    gpu: str | None = None
    efa: int = Field(0, ge=0)
    blocks: bool = False


class _Catalogue(Config):
    gpus: dict[str, _Gpu]
    instances: dict[str, _Row]


@cache
def instances() -> Mapping[str, Instance]:
    """Every instance type by its name."""
    catalogue = _Catalogue.model_validate(yaml.safe_load(_FILE.read_text()))
    return {name: _read(name, row, catalogue.gpus) for name, row in catalogue.instances.items()}


def instance(name: str) -> Instance:
    """The instance type of a name.

    Raises:
        ValueError: It is not in the catalogue; names those that are near.
    """
    known = instances()
    if name not in known:
        raise ValueError(
            f"{name!r} is no instance type of the catalogue: use {', '.join(_near(name, known))}, "
            f"or add it to stacks/catalogue/{_FILE.name}"
        )
    return known[name]


def _near(name: str, known: Mapping[str, Instance]) -> list[str]:
    """Those of its family, or spelled like it, or one of each family."""
    families = {each.partition(".")[0]: each for each in reversed(list(known))}
    wanted = name.partition(".")[0]
    if wanted in families:
        return [each for each in known if each.startswith(f"{wanted}.")]
    return difflib.get_close_matches(name, known, _NEAR) or sorted(families.values())


def _read(name: str, row: _Row, gpus: Mapping[str, _Gpu]) -> Instance:
    gpu = gpus[row.gpu] if row.gpu else None
    return Instance(
        name=name,
        vcpu=row.vcpu,
        ram_gib=row.ram_gib,
        gpus=row.gpus,
        gpu=row.gpu,
        product=gpu.product if gpu else None,
        vram_gib=gpu.vram_mib / 1024 if gpu else 0,
        efa=row.efa,
        has_blocks=row.blocks,
    )
