"""What MLflow keeps of a training run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_jobs.train.config import TrainConfig

_RUN_FILE = "mlflow-run"


class Tracking:
    """One MLflow run for one training run, whatever number of processes it takes."""

    def __init__(self, config: TrainConfig) -> None:
        """Open the run, or go on with the one that an interrupted process began.

        Raises:
            mlflow.MlflowException: The tracking server does not answer.
        """
        self._run_id: str | None = None
        if config.mlflow_url is None:
            return
        # A tracking server that is away fails the attempt within seconds, not minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        import mlflow  # noqa: PLC0415  seconds to import

        self._client = mlflow.MlflowClient(config.mlflow_url)
        self._run_id = self._resume(config.work_directory) or self._create(config)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty when nothing is recorded."""
        return self._run_id or ""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metrics at a step."""
        if self._run_id is not None:
            for name, value in values.items():
                self._client.log_metric(self._run_id, name, value, step=step)

    def finish(self, adapter: str) -> None:
        """Record where the adapter lies and end the run."""
        if self._run_id is not None:
            self._client.set_tag(self._run_id, "adapter_path", adapter)
            self._client.set_terminated(self._run_id)

    def _create(self, config: TrainConfig) -> str:
        experiment = self._client.get_experiment_by_name(config.experiment)
        experiment_id = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(config.experiment)
        )
        tags = {"domain": config.domain, "run_id": config.run_id}
        run = self._client.create_run(experiment_id, run_name=config.run_id, tags=tags)
        run_id = str(run.info.run_id)
        for name, value in config.hyperparameters().items():
            self._client.log_param(run_id, name, _text(value))
        config.work_directory.mkdir(parents=True, exist_ok=True)
        (config.work_directory / _RUN_FILE).write_text(run_id)
        return run_id

    def _resume(self, directory: Path) -> str | None:
        from mlflow import MlflowException  # noqa: PLC0415  seconds to import

        try:
            run_id = (directory / _RUN_FILE).read_text()
            self._client.get_run(run_id)
        except (FileNotFoundError, MlflowException):
            return None
        return run_id


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
