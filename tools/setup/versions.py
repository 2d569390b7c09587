"""Finds programs on PATH and reads their versions."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int, int]


@dataclass(frozen=True)
class FoundProgram:
    """A program on PATH that is good enough to be used as it is."""

    path: Path
    version: Version


def parse_version(text: str) -> Version | None:
    """Return the first `X.Y` or `X.Y.Z` in a text, with Z = 0 where it is missing."""
    match = re.search(r"(?<![\d.])(?:v|go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0)


def is_good(found: Version, wanted: Version) -> bool:
    """Say whether a found version may stand in for the wanted one: same major, not older."""
    return found[0] == wanted[0] and found >= wanted


def go_directive(go_mod: str) -> Version:
    """Return the Go version that the text of a go.mod asks for.

    Raises:
        ValueError: when it has no `go` line.
    """
    match = re.search(r"^go (\d+\.\d+(?:\.\d+)?)$", go_mod, re.MULTILINE)
    version = parse_version(match[1]) if match else None
    if version is None:
        raise ValueError("no `go X.Y` line")
    return version


def find_program(
    name: str, version_argv: tuple[str, ...], wanted: Version, skip: Path
) -> FoundProgram | None:
    """Look for a good version of a program on PATH.

    Args:
        name: The command's name.
        version_argv: Arguments that make it print its version.
        wanted: The oldest good version.
        skip: A PATH folder that does not count, because set-up itself fills it.
    """
    folders = [
        folder
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if folder and Path(folder).resolve() != skip.resolve()
    ]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        return None
    try:
        answer = subprocess.run(
            [path, *version_argv], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = parse_version(answer.stdout)
    if version is None or not is_good(version, wanted):
        return None
    return FoundProgram(Path(path), version)
