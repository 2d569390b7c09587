"""What every job of the release does around its own work."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from registry import documents
from registry.documents import Document
from registry.errors import RegistryError
from registry.runs import RunReporter, read_result
from registry.store import ObjectStore, open_store

AnyConfig = TypeVar("AnyConfig", bound=Document)


def run_job(
    model: type[AnyConfig], work: Callable[[AnyConfig, ObjectStore, RunReporter], None]
) -> NoReturn:
    """Run a job's `main`: parse `--config FILE`, skip what is done, report faults, exit.

    Exit status: 0 with a result in the registry, 1 on an infrastructure fault (may be attempted
    again), 2 on a configuration that is not the model's.
    """
    parser = argparse.ArgumentParser(description=(work.__doc__ or model.__doc__))
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file with the configuration"
    )
    path: Path = parser.parse_args().config
    try:
        config = documents.decode(path.read_bytes(), model, str(path))
    except (OSError, RegistryError) as error:
        sys.stderr.write(f"configuration: {error}\n")
        sys.exit(2)
    sys.exit(_attempt(config, work))


def _attempt(config: Any, work: Callable[[Any, ObjectStore, RunReporter], None]) -> int:
    store = open_store(config.registry_uri)
    if read_result(store, config.domain, config.run_id) is not None:
        sys.stderr.write(f"{config.run_id}: a result exists, nothing to do\n")
        return 0
    # Jobs that are billed say for whom.
    customer = getattr(config, "customer", None)
    reporter = RunReporter(store, config.domain, config.run_id, customer=customer)
    try:
        work(config, store, reporter)
    except Exception as error:
        reporter.failed(f"{type(error).__name__}: {error}")
        sys.stderr.write(f"{config.run_id} failed: {type(error).__name__}: {error}\n")
        return 1
    return 0
