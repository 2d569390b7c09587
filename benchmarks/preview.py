"""Previews of production and of domains beside it, on the real engine.

    .venv/bin/python -m benchmarks.preview [--domains N]

Brings the shipped environment `prod` up in an empty account, then adds N domains, and previews each
stack. AWS is moto, in this process; the providers are the stand-ins of the engine's tests, which
answer faster than AWS does. What is measured is the program, the engine, and their exchange:

environment_s: a preview of `prod` after its `up`, with every domain beside it.
domain_s: the median of a domain's first preview, before anything of it exists.
environment_changes_per_domain: changes that previews of `prod` show for the added domains.
peak_gib: memory of this process (program, providers, moto) and the engine's processes, together
    at most.

The last line is one JSON object.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import say
from tests.engine.aws.world import World, changes
from tests.engine.shipped import (
    account_of,
    domain_like,
    domain_program,
    environment_program,
    read_environment,
)

_ENVIRONMENT = "prod"
_LIKE = "bank-ledger"
_KIB_OF_A_GIB = 1024**2


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--domains", type=int, default=100, help="domains beside the environment")
    arguments = parser.parse_args()
    if arguments.domains < 1:
        parser.error(f"--domains {arguments.domains}: at least 1")
    stack = read_environment(_ENVIRONMENT)
    with (
        tempfile.TemporaryDirectory() as directory,
        account_of(stack, Path(directory), checkpoints=False) as world,
    ):
        print(json.dumps(measure(world, arguments.domains)))


def measure(world: World, domains: int) -> dict[str, Any]:
    """All figures."""
    environment = world.stack(_ENVIRONMENT, environment_program(read_environment(_ENVIRONMENT)))
    first_s, resources = _timed(environment.preview)
    say(f"{_ENVIRONMENT}: {sum(resources.values())} resources")
    up_s, _ = _timed(environment.up)
    previews_s = [_add_domain(world, number) for number in range(domains)]
    environment_s, after = _timed(environment.preview)
    return {
        "environment_s": round(environment_s, 1),
        "environment_first_s": round(first_s, 1),
        "environment_up_s": round(up_s, 1),
        "environment_resources": sum(resources.values()),
        "domains": domains,
        "domain_s": round(statistics.median(previews_s), 2),
        "domain_slowest_s": round(max(previews_s), 2),
        "environment_changes_per_domain": sum(changes(after).values()) / domains,
        "peak_gib": round(_peak_gib(), 2),
    }


def _add_domain(world: World, number: int) -> float:
    """Preview a new domain and bring it up; the seconds of the preview."""
    name = f"domain-{number}"
    domain = domain_like(_LIKE, name, _ENVIRONMENT)
    stack = world.stack(domain.name, domain_program(domain))
    preview_s, _ = _timed(stack.preview)
    up_s, counts = _timed(stack.up)
    say(f"{name}: {counts}, preview {preview_s:.1f} s, up {up_s:.1f} s")
    return preview_s


def _timed(operation: Callable[[], dict[str, int]]) -> tuple[float, dict[str, int]]:
    began = time.monotonic()
    counts = operation()
    return time.monotonic() - began, counts


def _peak_gib() -> float:
    """The peak of this process and the highest peak of a process that it started."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + started) / _KIB_OF_A_GIB


if __name__ == "__main__":
    main()
