"""Regions that an environment may be in, and their zones (`regions.yaml`)."""

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("regions.yaml")
_NEAR = 5


@cache
def regions() -> Mapping[str, tuple[str, ...]]:
    """Names of the zones of each region, such as eu-central-1a."""
    letters: dict[str, str] = yaml.safe_load(_FILE.read_text())
    return {region: tuple(f"{region}{each}" for each in of) for region, of in letters.items()}


def zones_of(region: str) -> tuple[str, ...]:
    """Names of the zones of a region.

    Raises:
        ValueError: The region is not in the catalogue; names those that are near.
    """
    known = regions()
    if region not in known:
        near = difflib.get_close_matches(region, known, _NEAR) or sorted(known)
        raise ValueError(
            f"{region!r} is no region of the catalogue: use {', '.join(near)}, "
            f"or add it to stacks/catalogue/{_FILE.name}"
        )
    return known[region]
