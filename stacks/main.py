"""From the engine's configuration to one of the two programs."""

import pulumi

from stacks import job_specs
from stacks.config.load import EnvironmentStack, parse
from stacks.paths import StateDirectory
from stacks.programs import domain, environment


async def run() -> None:
    """Read the stack's configuration, validate all of it, and declare the stack.

    Raises:
        ConfigError: The configuration is not valid; nothing was declared.
    """
    config = pulumi.Config("pipeline")
    raw = {
        f"pipeline:{key}": value
        for key in ("kind", "environment", "domain")
        if (value := config.get(key)) is not None
    }
    name = pulumi.get_stack()
    stack = parse(raw, name, f"stacks/Pulumi.{name}.yaml")
    if isinstance(stack, EnvironmentStack):
        environment.run(stack, state=StateDirectory.default())
    else:
        await domain.run(stack, jobs=job_specs.jobs, retry=config.get_bool("retry") or False)
