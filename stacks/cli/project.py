"""The stacks of the project as the command sees them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacks.config.load import (
    ClusterStack,
    ConfigError,
    DomainStack,
    EnvironmentStack,
    list_stacks,
    load,
    read_stack_file,
    refuse_shared_names,
)
from stacks.contract import EnvironmentContract
from stacks.driver import read_contract
from stacks.paths import ROOT, StateDirectory


@dataclass(frozen=True)
class Project:
    """Where stack files and local state lie."""

    stacks: Path
    state: StateDirectory

    @classmethod
    def default(cls) -> "Project":
        """`PIPELINE_STACKS_DIR` or `stacks/`, and `PIPELINE_STATE_DIR` or `.local/`."""
        stacks = Path(os.environ.get("PIPELINE_STACKS_DIR", ROOT / "stacks"))
        return cls(stacks.resolve(), StateDirectory.default())

    def load(self, stack: str) -> tuple[EnvironmentStack | DomainStack, dict[str, Any]]:
        """A validated stack of a local environment, and its `config` section.

        Raises:
            ConfigError: It is not valid, it is not local, or another domain of its environment
                claims its name.
        """
        loaded = load(self.stacks, stack)
        if isinstance(loaded, DomainStack):
            self.environment(loaded.environment)
            self.domains(loaded.environment)
        elif isinstance(loaded, ClusterStack):
            raise _not_local(loaded)
        return loaded, read_stack_file(self.stacks, stack)

    def domain(self, stack: str) -> DomainStack:
        """A domain stack.

        Raises:
            ConfigError: There is no such stack, or it is an environment.
        """
        loaded = load(self.stacks, stack)
        if not isinstance(loaded, DomainStack):
            raise ConfigError(
                f"{stack!r} is an environment stack; domain stacks: "
                f"{', '.join(d.name for d in self.domains(stack)) or 'none'}"
            )
        return loaded

    def environment(self, name: str) -> EnvironmentStack:
        """The stack of a local environment.

        Raises:
            ConfigError: There is no such stack, or it is another one.
        """
        loaded = load(self.stacks, name)
        if isinstance(loaded, ClusterStack):
            raise _not_local(loaded)
        if not isinstance(loaded, EnvironmentStack):
            raise ConfigError(f"{name!r} is a domain stack, not an environment")
        return loaded

    def cluster(self, name: str) -> ClusterStack:
        """An environment stack on Kubernetes.

        Raises:
            ConfigError: There is no such stack, or it is another one.
        """
        loaded = load(self.stacks, name)
        if not isinstance(loaded, ClusterStack):
            raise ConfigError(f"{name!r} is no environment on Kubernetes")
        return loaded

    def domains(self, environment: str) -> list[DomainStack]:
        """The domain stacks of an environment.

        Raises:
            ConfigError: One is not valid, or two claim the same name.
        """
        loaded = (
            load(self.stacks, name)
            for name in list_stacks(self.stacks)
            if name.startswith(f"{environment}-")
        )
        domains = [s for s in loaded if isinstance(s, DomainStack)]
        refuse_shared_names(domains)
        return domains

    def contract(self, environment: str) -> EnvironmentContract:
        """What an environment that is up says of itself."""
        return read_contract(environment, self.state)


def _not_local(stack: ClusterStack) -> ConfigError:
    return ConfigError(
        f"{stack.name!r} is an environment on Kubernetes ({stack.environment.cluster.kind}): its "
        f"state is in your Pulumi backend, so run `pulumi preview -s {stack.name}` and "
        f"`pulumi up -s {stack.name}`; this command is for local environments"
    )
