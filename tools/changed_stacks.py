"""Which stacks a change touches: `python3 tools/changed_stacks.py --base REF [--kind KIND]`.

Prints JSON for a workflow's matrix. A stack file touches its own stack, the stack file of an
environment its domains too, everything else that a program reads touches every stack. Needs the
standard library alone, so that it runs before anything is installed.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_STACK_FILE = re.compile(r"stacks/Pulumi\.(?P<stack>[a-z0-9-]+)\.yaml")
_PROGRAM = (
    "__main__.py",
    "Pulumi.yaml",
    "requirements.txt",
    "stacks/",
    "components/",
    "substrates/",
    "registry/",
    "serving/",
    "training_jobs/",
    "observability/",
)
# Programs of these do not run in an account.
_LOCAL = re.compile(r"local(-.*)?")


def touched(paths: Iterable[str], stacks: Sequence[str]) -> list[str]:
    """Return the stacks that changed paths touch, environments before their domains.

    Args:
        paths: Changed files, relative to the project; deleted ones too.
        stacks: Stacks that have a file.
    """
    found: set[str] = set()
    for path in paths:
        match = _STACK_FILE.fullmatch(path)
        if match:
            name = match["stack"]
            found |= {stack for stack in stacks if stack == name or stack.startswith(f"{name}-")}
        elif path.startswith(_PROGRAM):
            found |= set(stacks)
    return sorted((stack for stack in found if not _LOCAL.fullmatch(stack)), key=_order)


def _order(stack: str) -> tuple[str, str]:
    environment, _, domain = stack.partition("-")
    return environment, domain


def of_kind(stacks: Iterable[str], kind: str | None) -> list[str]:
    """Keep environments, or domains, or all."""
    return [s for s in stacks if kind is None or ("-" in s) == (kind == "domain")]


def main(arguments: Sequence[str]) -> int:
    """Print `["dev", "dev-bank-ledger"]`. Exit status 2: git does not know the base."""
    parser = argparse.ArgumentParser(description=touched.__doc__)
    parser.add_argument("--base", required=True, help="compare with the merge base of this commit")
    parser.add_argument("--kind", choices=("environment", "domain"), help="these alone")
    options = parser.parse_args(arguments)
    git = ("git", "diff", "--name-only", "--no-renames", f"{options.base}...HEAD")
    changed = subprocess.run(git, capture_output=True, text=True, check=False)
    if changed.returncode:
        sys.stderr.write(f"--base {options.base}: {changed.stderr}")
        return 2
    stacks = sorted(
        match["stack"]
        for path in Path("stacks").glob("Pulumi.*.yaml")
        if (match := _STACK_FILE.fullmatch(path.as_posix()))
    )
    sys.stdout.write(
        json.dumps(of_kind(touched(changed.stdout.splitlines(), stacks), options.kind)) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
