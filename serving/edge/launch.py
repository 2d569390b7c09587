"""Starts Envoy for the local edge: `python -m serving.edge.launch --config edge.json`.

Envoy ends when a file that it shall watch does not exist yet. So this waits until the control plane
has written them all, and becomes Envoy.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.edge.bootstrap import envoy_command, render_bootstrap, xds_files
from serving.edge.config import Address, ConfigError, EdgeConfig, read_config
from serving.edge.files import replace_file

_WAIT_S: Final = 120.0


def port_problem(key: str, address: Address) -> str | None:
    """Say that a port cannot be listened on, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((str(address.host), address.port))
        except OSError as error:
            return (
                f"{key}: port {address.port} on {address.host} cannot be used: {error.strerror}; "
                "stop what uses it, or choose another port"
            )
    return None


def prepare(config: EdgeConfig, wait_s: float = _WAIT_S) -> tuple[str, ...]:
    """Make all ready for Envoy and return its command line.

    Raises:
        ConfigError: when a port is taken, Envoy is missing, or the control plane writes nothing.
    """
    for key, address in (("listen.port", config.listen), ("admin.port", config.admin)):
        problem = port_problem(key, address)
        if problem:
            raise ConfigError(problem)
    if not os.access(config.envoy, os.X_OK):
        raise ConfigError(f"envoy: no program at {config.envoy}; run `make setup`")
    config.xds_dir.mkdir(parents=True, exist_ok=True)
    # The same text as the control plane's: an old file could name another port.
    replace_file(config.xds_dir / "bootstrap.yaml", render_bootstrap(config))
    files = xds_files(config)
    needed = [Path(files.clusters), Path(files.routes), Path(files.listeners)]
    deadline = time.monotonic() + wait_s
    while not all(path.exists() for path in needed):
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"the edge's control plane wrote nothing to {config.xds_dir} in {wait_s:.0f} s; "
                "its log says why"
            )
        time.sleep(0.1)
    return envoy_command(config)


def main(arguments: Sequence[str]) -> int:
    """Become Envoy; return an exit code only when that fails."""
    parser = argparse.ArgumentParser(prog="serving.edge.launch", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    try:
        command = prepare(read_config(parser.parse_args(arguments).config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    # No child: the supervisor must watch Envoy itself.
    return os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
