"""The real Pulumi engine, driven through the Automation API with a file backend.

Stack files stay as they are committed: the engine writes an encryption salt into the stack file it
works with, so it gets a copy below the state directory.
"""

import contextlib
import functools
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pulumi import automation as auto

from stacks.paths import PROJECT, ROOT, StateDirectory

# What the engine itself writes into a stack file.
_ENGINE_KEYS = ("encryptionsalt", "secretsprovider")

Program = Callable[[], Any]
Result = TypeVar("Result")
LOCK_WAIT_S = 60.0
"""How long an operation waits for another one on the same stack."""


def open_stack(
    name: str, *, program: Program, config: Mapping[str, Any] | None, state: StateDirectory
) -> auto.Stack:
    """Select a stack, or create it, with exactly this configuration.

    Args:
        name: Stack name.
        program: The Pulumi program.
        config: The `config` section of its stack file; None keeps what the stack has.
        state: Where backend, passphrase and workspace lie.
    """
    workspace = _workspace(name, config, state)
    options = auto.LocalWorkspaceOptions(
        work_dir=str(workspace),
        pulumi_home=str(state.path / "pulumi-home"),
        env_vars=environment(state),
        pulumi_command=_command(),
    )
    stack = auto.create_or_select_stack(
        stack_name=name, project_name=PROJECT, program=program, opts=options
    )
    _cancel_dead_update(name, state)
    return stack


def when_free(operation: Callable[[], Result], name: str, state: StateDirectory) -> Result:
    """Run an engine operation; when another one has the stack, wait a while for its end.

    Raises:
        auto.ConcurrentUpdateError: The stack is still locked after `LOCK_WAIT_S`.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return operation()
        except auto.ConcurrentUpdateError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
            _cancel_dead_update(name, state)


@functools.cache
def _command() -> auto.PulumiCommand:
    return auto.PulumiCommand(str(ROOT / ".tools"))


def environment(state: StateDirectory) -> dict[str, str]:
    """Variables of every engine process."""
    tools = [ROOT / ".tools" / "bin", ROOT / ".venv" / "bin"]
    return {
        "PATH": os.pathsep.join([*map(str, tools), os.environ.get("PATH", "")]),
        "PULUMI_BACKEND_URL": f"file://{_backend(state)}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(_passphrase_file(state)),
        # The one plugin of the local environment is the project's own, on PATH.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def stack_exists(name: str, state: StateDirectory) -> bool:
    """Whether the backend has a state for this stack."""
    return name in list_existing(state)


def list_existing(state: StateDirectory) -> list[str]:
    """Names of the stacks that the backend has a state for."""
    folder = _backend(state) / ".pulumi" / "stacks" / PROJECT
    return sorted(path.stem for path in folder.glob("*.json"))


def _workspace(name: str, config: Mapping[str, Any] | None, state: StateDirectory) -> Path:
    directory = state.path / "workspaces" / name
    directory.mkdir(parents=True, exist_ok=True)
    project = {"name": PROJECT, "runtime": "python", "main": str(ROOT)}
    (directory / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    stack_file = directory / f"Pulumi.{name}.yaml"
    if config is None:
        return directory
    kept: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        kept = yaml.safe_load(stack_file.read_text()) or {}
    salt: dict[str, Any] = {key: kept[key] for key in _ENGINE_KEYS if key in kept}
    content: dict[str, Any] = {**salt, "config": dict(config)}
    stack_file.write_text(yaml.safe_dump(content, sort_keys=False))
    return directory


def _backend(state: StateDirectory) -> Path:
    backend = state.path / "backend"
    backend.mkdir(parents=True, exist_ok=True)
    return backend


def _passphrase_file(state: StateDirectory) -> Path:
    path = state.path / "passphrase"
    if not path.exists():
        # Whole or not at all, and the first of two writers wins: state depends on it for ever.
        scratch = path.with_name(f".passphrase.{os.getpid()}")
        scratch.touch(mode=0o600)
        scratch.write_text(secrets.token_urlsafe(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(scratch)
        scratch.unlink()
    return path


def _cancel_dead_update(name: str, state: StateDirectory) -> None:
    """Remove the lock of an update whose process on this machine is gone (a crash, a power cut)."""
    locks = _backend(state) / ".pulumi" / "locks" / "organization" / PROJECT / name
    for lock in locks.glob("*.json"):
        owner = yaml.safe_load(lock.read_text())
        if owner["hostname"] == socket.gethostname() and not _alive(int(owner["pid"])):
            lock.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
