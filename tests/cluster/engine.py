"""The real engine with the real Kubernetes provider, on a cluster of the tests.

The provider is the one that set-up compiled, on the engine's PATH. It is older than the one that a
released `pulumi_kubernetes` asks for: no newer one can be had as a Go module.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pulumi_kubernetes as kubernetes
import pytest
from pulumi import automation as auto

from stacks.engine import open_stack
from stacks.paths import StateDirectory
from tests.cluster.programs import FOLDER, PROVIDER, require


@pytest.fixture
def provider_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine find the Kubernetes provider."""
    require(PROVIDER)
    monkeypatch.setenv("PATH", os.pathsep.join([str(FOLDER), os.environ["PATH"]]))


def stack(
    name: str, folder: Path, kubeconfig: Path, declare: Callable[[kubernetes.Provider], object]
) -> auto.Stack:
    """A stack whose program declares objects on a cluster.

    Args:
        name: Its name.
        folder: Where its state lies.
        kubeconfig: Of the cluster.
        declare: The program; it is given the provider of the cluster.
    """

    def program() -> None:
        declare(kubernetes.Provider("cluster", kubeconfig=str(kubeconfig)))

    return open_stack(name, program=program, config={}, state=StateDirectory(folder))
