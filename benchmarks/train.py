"""Throughput of the training job on this machine: a few steps, in a scratch registry.

Run it in the training environment. The last line of the output is one JSON object.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from registry import documents
from registry.errors import RegistryError
from registry.runs import RunReporter
from registry.store import open_store
from training_jobs.errors import JobInputError
from training_jobs.train.config import TrainConfig
from training_jobs.train.tracking import Tracking


def measure(config: TrainConfig, steps: int) -> dict[str, Any]:
    """Train `steps` steps as `config` says, without MLflow, and return the run's metrics.

    Raises:
        JobInputError: The dataset is not readable.
    """
    from training_jobs.train.peft_engine import train  # noqa: PLC0415  imports PyTorch

    with tempfile.TemporaryDirectory(prefix="train-benchmark-") as scratch:
        changed = config.model_copy(
            update={
                "registry_uri": f"file://{scratch}/registry",
                "work_directory": Path(scratch) / "work",
                "mlflow_url": None,
                "steps": steps,
            }
        )
        reporter = RunReporter(open_store(changed.registry_uri), changed.domain, changed.run_id)
        return {"domain": config.domain, **train(changed, reporter, Tracking(changed))}


def main(argv: list[str] | None = None) -> int:
    """Measure; exit 2 on a bad configuration or dataset."""
    parser = argparse.ArgumentParser(prog="benchmarks.train", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="a training job's config.json (see `up`'s files)"
    )
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args(argv)
    try:
        config = documents.decode(options.config.read_bytes(), TrainConfig, str(options.config))
        result = measure(config, options.steps)
    except (OSError, RegistryError, JobInputError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
