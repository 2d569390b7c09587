"""The real engine with stand-ins for its providers, and an empty account behind them."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import automation as auto

from stacks.engine import open_stack
from stacks.paths import StateDirectory
from tests.engine.aws.account import Account, moto_server
from tests.engine.aws.eks_component import EksStandIn
from tests.engine.aws.kubernetes_provider import KubernetesStandIn
from tests.engine.aws.provider import AwsStandIn
from tests.engine.aws.servicer import serving

Program = Callable[[], Any]


@dataclass(frozen=True)
class World:
    """An account, a cluster in memory, and a backend for stacks."""

    state: StateDirectory
    aws: AwsStandIn
    kubernetes: KubernetesStandIn
    settings: Mapping[str, str]
    """Variables of the engine's processes."""

    @property
    def account(self) -> Account:
        """The account in moto."""
        return self.aws.account

    def stack(
        self, name: str, program: Program, config: Mapping[str, Any] | None = None
    ) -> "WorldStack":
        """A stack in this world."""
        stack = open_stack(name, program=program, config=config or {}, state=self.state)
        stack.workspace.env_vars = {**stack.workspace.env_vars, **self.settings}
        return WorldStack(stack)

    def stored(self, name: str) -> str:
        """The state of a stack, as the backend stores it."""
        (found,) = (self.state.path / "backend" / ".pulumi" / "stacks").rglob(f"{name}.json")
        return found.read_text()

    def types(self, name: str) -> Counter[str]:
        """Resources of a stack by their type."""
        stored = json.loads(self.stored(name))
        return Counter(each["type"] for each in stored["checkpoint"]["latest"]["resources"])


@dataclass(frozen=True)
class WorldStack:
    """A stack whose operations give the number of resources by what happened to them."""

    stack: auto.Stack

    def preview(self) -> dict[str, int]:
        """What `up` would do."""
        return _plain(self.stack.preview().change_summary)

    def up(self) -> dict[str, int]:
        """What was done."""
        return _plain(self.stack.up().summary.resource_changes)

    def destroy(self) -> dict[str, int]:
        """What was deleted; as the command does, after a preview.

        Without one the engine deletes everything else before it refuses what is protected.
        """
        self.stack.preview_destroy()
        return _plain(self.stack.destroy().summary.resource_changes)

    def unprotect(self) -> None:
        """Let the engine delete everything, as `pulumi state unprotect` does."""
        workspace = self.stack.workspace
        workspace.pulumi_command.run(
            ["state", "unprotect", "--all", "--yes", "--stack", self.stack.name],
            workspace.work_dir,
            dict(workspace.env_vars),
        )

    def refresh(self) -> dict[str, int]:
        """What had changed in the account."""
        return _plain(self.stack.refresh().summary.resource_changes)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        return {name: output.value for name, output in self.stack.outputs().items()}


@contextlib.contextmanager
def new_world(
    directory: Path,
    *,
    number: str,
    region: str,
    kubeconfig: Mapping[str, Any] | None = None,
    checkpoints: bool = True,
) -> Iterator[World]:
    """An account with nothing in it.

    Args:
        directory: Of the stacks' states.
        number: Of the account.
        region: The one region.
        kubeconfig: Of a real API server: the real provider `kubernetes` is used with it.
        checkpoints: Whether the state is written after each resource, and not at the end alone.
            Without, large stacks take less than half the time, and a killed engine loses them.
    """
    with contextlib.ExitStack() as running:
        account = Account(running.enter_context(moto_server()), number=number, region=region)
        aws, kubernetes = AwsStandIn(account), KubernetesStandIn()
        eks = EksStandIn(region=region, kubeconfig=kubeconfig)
        stand_ins = {"aws": aws, "eks": eks}
        if kubeconfig is None:
            stand_ins["kubernetes"] = kubernetes
        ports = {
            package: running.enter_context(serving(stand_in))
            for package, stand_in in stand_ins.items()
        }
        attached = ",".join(f"{package}:{port}" for package, port in ports.items())
        settings = {"PULUMI_DEBUG_PROVIDERS": attached}
        if not checkpoints:
            settings |= {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
        yield World(StateDirectory(directory), aws, kubernetes, settings)


def _plain(counts: Mapping[Any, int] | None) -> dict[str, int]:
    """The keys are plain texts, whatever their type says."""
    return {str(auto.OpType(kind).value): count for kind, count in (counts or {}).items()}


def changes(counts: Mapping[str, int]) -> dict[str, int]:
    """Without what stays the same."""
    return {kind: count for kind, count in counts.items() if kind != "same"}
