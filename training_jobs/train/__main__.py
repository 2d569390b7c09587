"""`python -m training_jobs.train --config FILE`: train an adapter and store it under its run."""

import os
import signal
import sys

from registry import layout
from registry.job import run_job
from registry.runs import RunReporter, upload_adapter
from registry.store import ObjectStore
from training_jobs.errors import JobInputError
from training_jobs.gpus import held_gpus
from training_jobs.pairs import refuse_other_digest
from training_jobs.train.config import TrainConfig
from training_jobs.train.tracking import Tracking


def _main(config: TrainConfig, store: ObjectStore, reporter: RunReporter) -> None:
    """Train, upload, record."""
    from training_jobs.train.peft_engine import (  # noqa: PLC0415  PyTorch takes seconds to import
        TrainingStoppedError,
        train,
    )

    try:
        refuse_other_digest(config.train_path, config.dataset_digest)
        # Before hours of work whose price would not be known.
        held = held_gpus()
        tracking = Tracking(config)
        metrics = train(config, reporter, tracking)
    except JobInputError as error:
        sys.stderr.write(f"refused: {error}\n")
        reporter.refused(str(error))
        return
    except TrainingStoppedError:
        # End as a process that the signal ended: neither done nor failed, so it starts again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    adapter = config.work_directory / "adapter"
    files = upload_adapter(store, config.domain, config.run_id, adapter)
    tracking.finish(layout.run_prefix(config.domain, config.run_id) + "adapter/")
    reporter.succeeded(
        {
            "files": files,
            "rank": config.rank,
            "target_modules": list(config.target_modules),
            "mlflow_run_id": tracking.run_id,
            "metrics": {**metrics, **held},
        }
    )


if __name__ == "__main__":
    run_job(TrainConfig, _main)
