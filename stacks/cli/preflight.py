"""What must hold before a local environment is brought up."""

import shutil
from typing import Final

from stacks.config.load import ConfigError
from stacks.paths import StateDirectory

FIRST_UP_MIB: Final = 600
"""A first `up` of both domains leaves 381 MiB; the base model is converted beside its place."""
LATER_UP_MIB: Final = 100


def require_space(state: StateDirectory) -> None:
    """Refuse to begin where the disk would be full before the end.

    Raises:
        ConfigError: Too little free space; names the folder, what is free and what is needed.
    """
    state.path.mkdir(parents=True, exist_ok=True)
    needed = LATER_UP_MIB if any(state.path.glob("models/*")) else FIRST_UP_MIB
    free = shutil.disk_usage(state.path).free // 2**20
    if free < needed:
        raise ConfigError(
            f"no space: {state.path} has {free} MiB free and this needs {needed} MiB: free some, "
            "or set PIPELINE_STATE_DIR to a folder on another disk"
        )
