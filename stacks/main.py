"""From the engine's configuration to one of the programs."""

import pulumi
from pulumi.runtime.config import get_config_env

from stacks import job_specs
from stacks.config.load import (
    ClusterStack,
    ConfigError,
    EnvironmentStack,
    StackConfig,
    list_stacks,
    load,
    parse,
    refuse_clashes,
)
from stacks.paths import ROOT, StateDirectory
from stacks.programs import domain, environment
from stacks.programs.cluster import environment as cluster_environment

_RETRY = "pipeline:retry"
_STACKS = ROOT / "stacks"


async def run() -> None:
    """Read the stack's configuration, validate all of it, and declare the stack.

    Raises:
        ConfigError: The configuration is not valid; nothing was declared.
    """
    name = pulumi.get_stack()
    raw = {key: value for key, value in get_config_env().items() if key.startswith("pipeline:")}
    retry = raw.pop(_RETRY, "false") == "true"
    stack = parse(raw, name, f"stacks/Pulumi.{name}.yaml")
    refuse_clashes([stack, *_others(name)])
    if isinstance(stack, ClusterStack):
        cluster_environment.run(stack)
    elif isinstance(stack, EnvironmentStack):
        environment.run(stack, state=StateDirectory.default())
    else:
        await domain.run(stack, jobs=job_specs.jobs, retry=retry)


def _others(name: str) -> list[StackConfig]:
    """Every other stack with a file; one that is not valid is for its own `up` to refuse."""
    found: list[StackConfig] = []
    for other in list_stacks(_STACKS):
        try:
            if other != name:
                found.append(load(_STACKS, other))
        except ConfigError as error:
            pulumi.log.warn(f"names are not compared with those of {other}: {error}")
    return found
