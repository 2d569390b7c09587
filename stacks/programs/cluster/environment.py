"""The program of an environment stack on Kubernetes."""

import pulumi

from stacks.config.load import ClusterStack


def run(stack: ClusterStack) -> None:
    """Declare."""
    raise pulumi.RunError("")
