"""Start one workload from its spec file. Standard library only: it runs before anything else does.

`python launch.py SPEC` replaces itself by the service that the spec describes. For a job it waits
for the end and records the exit status beside the spec, so that a job's outcome survives the
supervisor.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the spec that the only argument names."""
    path = Path(sys.argv[1])
    spec: dict[str, Any] = json.loads(path.read_text())
    os.chdir(spec["cwd"])
    environment = {**os.environ, **spec["environment"]}
    _end_with_parent()
    if not spec["job"]:
        os.execvpe(spec["command"][0], spec["command"], environment)  # noqa: S606
    return _run_job(spec["command"], environment, path.with_name("exit_status"))


def _end_with_parent() -> None:
    """A supervisor that is killed takes its workloads with it, so nothing keeps a port unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _run_job(command: list[str], environment: dict[str, str], status_file: Path) -> int:
    # Not inherited: without it, a killed launcher would leave a job running beside its next start.
    child = subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent)  # noqa: PLW1509
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    status = child.wait()
    # A job that a signal ended did not come to its end: no status, so it counts as lost.
    if status >= 0:
        temporary = status_file.with_suffix(".tmp")
        temporary.write_text(str(status))
        temporary.replace(status_file)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
