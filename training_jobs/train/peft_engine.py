"""LoRA by PEFT and TRL: runs anywhere, on the CPU too."""

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig

from registry.runs import RunReporter
from training_jobs.pairs import read_pairs
from training_jobs.train.answer_loss import AnswerLossTrainer
from training_jobs.train.callbacks import Progress, StopOnSigterm
from training_jobs.train.config import TrainConfig
from training_jobs.train.rows import in_batches, tokenize
from training_jobs.train.tracking import Tracking

_WARMUP_SHARE = 0.05
_CHECKPOINTS = 5
_LOGGED_STEPS = 5


class TrainingStoppedError(Exception):
    """The job was asked to stop; a checkpoint was saved and the next start goes on from it."""


def train(config: TrainConfig, reporter: RunReporter, tracking: Tracking) -> dict[str, Any]:
    """Train the adapter into `<work_directory>/adapter` and return the run's metrics.

    Raises:
        JobInputError: The dataset is not readable.
        TrainingStoppedError: SIGTERM arrived; the work so far is kept.
    """
    reporter.progress(message="loading the base model")
    tokenizer = AutoTokenizer.from_pretrained(config.base_directory)
    pairs = read_pairs(config.train_path)
    rows = tokenize(pairs, tokenizer, answer_tokens=config.answer_tokens)
    order = in_batches(
        [len(row["input_ids"]) for row in rows],
        batch_size=config.batch_size,
        steps=config.steps,
        seed=config.seed,
    )
    progress, stop = Progress(reporter, tracking), StopOnSigterm()
    trainer = AnswerLossTrainer(
        # float32: CPUs without bfloat16 instructions only emulate it.
        model=AutoModelForCausalLM.from_pretrained(config.base_directory, dtype=torch.float32),
        args=_arguments(config),
        train_dataset=Dataset.from_list([rows[index] for index in order]),
        processing_class=tokenizer,
        peft_config=_lora(config),
        callbacks=[progress, stop],
    )
    began = time.monotonic()
    output = trainer.train(resume_from_checkpoint=_checkpoint(config.work_directory))
    if trainer.state.global_step < config.steps:
        raise TrainingStoppedError(f"stopped after step {trainer.state.global_step}")
    seconds = time.monotonic() - began
    trainer.save_model(str(config.work_directory / "adapter"))
    tokens = float(trainer.state.num_input_tokens_seen) - progress.tokens_before
    return {
        "loss": progress.loss if progress.loss is not None else output.training_loss,
        "seconds": round(seconds, 1),
        "rows": len(set(order)),
        "steps": config.steps,
        "tokens_per_s": round(tokens / seconds, 1),
    }


def _lora(config: TrainConfig) -> LoraConfig:
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )


def _arguments(config: TrainConfig) -> SFTConfig:
    return SFTConfig(
        output_dir=str(config.work_directory / "checkpoints"),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(config.steps * _WARMUP_SHARE)),
        weight_decay=0.0,
        max_length=config.max_seq_length,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        include_num_input_tokens_seen="non_padding",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=_LOGGED_STEPS,
        save_strategy="steps",
        save_steps=max(1, config.steps // _CHECKPOINTS),
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )


def _checkpoint(work_directory: Path) -> str | None:
    checkpoints = work_directory / "checkpoints"
    return get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
