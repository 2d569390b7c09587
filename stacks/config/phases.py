"""The guide's roadmap: what an environment has in each of its phases."""

from typing import Final, Literal

from registry.names import PoolName

Phase = Literal[1, 2, 3, 4]

PHASES: Final = (
    "of the guide's roadmap: 1 large model, gateway, traces; 2 retrieval (not in this version: as "
    "1); 3 small model; 4 adapters"
)
_RETRIEVAL, _SMALL_MODEL, _ADAPTERS = 2, 3, 4


def has_pool(phase: Phase, pool: PoolName) -> bool:
    """Whether an environment of a phase serves a pool that is configured."""
    return pool == "llm" or phase >= _SMALL_MODEL


def has_adapters(phase: Phase) -> bool:
    """Whether releases load adapters into the pools that take them."""
    return phase >= _ADAPTERS


def needed_pool(phase: Phase) -> PoolName:
    """The pool that an environment cannot do without."""
    return "slm" if phase >= _SMALL_MODEL else "llm"


def shortfall(phase: Phase) -> str | None:
    """What a phase is for and this version does not have; None where it has all of it."""
    if phase != _RETRIEVAL:
        return None
    return "phase 2 is for retrieval, which is not in this version: all is as in phase 1"
