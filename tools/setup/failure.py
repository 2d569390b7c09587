"""Explains why a step failed and what to do."""

import re
from collections.abc import Sequence
from pathlib import Path

TAIL_LINES = 15

_CAUSES: tuple[tuple[str, str], ...] = (
    (r"no space left on device", "The disk is full: free some space."),
    (
        r"hash mismatch|checksum mismatch|SECURITY ERROR",
        "A download is not the file that the lock names: clear the package caches "
        "(`.tools/uv/bin/uv cache clean`, `go clean -modcache`); if it stays, ask who runs the "
        "mirror.",
    ),
    (
        r"(dial tcp|lookup \S+).*(no such host|refused|timeout)|timed? ?out|failed to fetch"
        r"|error sending request|connection (refused|reset)|name resolution",
        "The package registry did not answer: check the network, a proxy or a mirror setting.",
    ),
    (
        r"no matching distribution|no wheels? with a matching|no solution found",
        "The registry has no build of a pinned package for this machine: Linux on x86-64 or arm64 "
        "with Python 3.11 is what the locks cover.",
    ),
    (
        r"ensurepip is not available|no module named '?(venv|ensurepip)",
        "This Python has no venv module: install it (Debian: `apt install python3-venv`).",
    ),
    (
        r"signal: killed|out of memory|cannot allocate memory",
        "The machine ran out of memory: close something and try again.",
    ),
    (
        r"permission denied|read-only file system",
        "A file cannot be written: check who owns the project folder and the caches in your home.",
    ),
)


def advice(log: str) -> str:
    """Return what to do about a failed command, from its output."""
    for pattern, text in _CAUSES:
        if re.search(pattern, log, re.IGNORECASE):
            return text
    return "Read the log; it has the whole output."


def last_lines(log: str, count: int = TAIL_LINES) -> list[str]:
    """Return the last lines that are not blank."""
    return [line.rstrip() for line in log.splitlines() if line.strip()][-count:]


def explain(name: str, why: str, log_path: Path, log: str, argv: Sequence[str] = ()) -> str:
    """Return the report of a failed step: which, why, and what to do."""
    lines = [f"Set-up stopped at step `{name}`: {why}"]
    if argv:
        lines.append(f"  command  {' '.join(argv)}")
    lines += [f"  | {line}" for line in last_lines(log)]
    lines += [
        f"  log      {log_path}",
        f"  do       {advice(log)}",
        "           Then run the same command again: it goes on from this step.",
    ]
    return "\n".join(lines)
