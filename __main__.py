"""Entry point of `pulumi up`: the environment or domain program, by the stack's configuration."""

import pulumi

from stacks.main import run

pulumi.run(run)
