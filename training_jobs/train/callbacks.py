"""What happens around the steps: progress, metrics, and a checkpoint when the job is stopped."""

import signal
import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from registry.runs import RunReporter
from training_jobs.train.tracking import Tracking


class StopOnSigterm(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """On SIGTERM, finish the step, save a checkpoint and stop."""

    def __init__(self) -> None:
        """Take over the signal."""
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask the trainer to save and stop."""
        del args, state
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True

    def _stop(self, *_: object) -> None:
        self.stopped = True


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Reports each step to the registry, each logged step to MLflow and to the log."""

    def __init__(self, reporter: RunReporter, tracking: Tracking) -> None:
        """Report to both."""
        self._reporter = reporter
        self._tracking = tracking
        self._began = time.monotonic()
        self._first_step = 0
        self.tokens_before = 0
        """Tokens that an earlier process of this run trained on."""
        self.loss: float | None = None
        """Mean loss of the last logged steps, nats a token."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Steps before a checkpoint cost no time now."""
        del args, control
        self._began = time.monotonic()
        self._first_step = state.global_step
        self.tokens_before = int(state.num_input_tokens_seen)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """One step is done."""
        del args, control
        self._reporter.progress(
            step=state.global_step,
            total=state.max_steps,
            loss=self.loss,
            eta_s=self._eta(state),
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """The trainer averaged the last steps."""
        del args, control
        if not logs or "loss" not in logs:
            return
        self.loss = float(logs["loss"])
        values = {"loss": self.loss, "learning_rate": float(logs["learning_rate"])}
        if "mean_token_accuracy" in logs:
            values["token_accuracy"] = float(logs["mean_token_accuracy"])
        self._tracking.metrics(values, state.global_step)
        sys.stderr.write(
            f"step {state.global_step}/{state.max_steps} loss {self.loss:.3f} "
            f"{self._eta(state):.0f} s left\n"
        )

    def _eta(self, state: TrainerState) -> float:
        done = max(state.global_step - self._first_step, 1)
        per_step = (time.monotonic() - self._began) / done
        return float(per_step * (state.max_steps - state.global_step))
