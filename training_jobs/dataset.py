"""Check a domain's dataset before anything is trained on it.

`python -m training_jobs.dataset --config FILE`. What is wrong with the data is a result
(`refused`), not a fault: the same data would be refused again.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from registry.job import run_job
from registry.runs import RunReporter
from registry.store import ObjectStore
from training_jobs.dataset_config import DatasetConfig
from training_jobs.errors import JobInputError
from training_jobs.pairs import Pair, normalised, read_pairs, refuse_long_rows, refuse_other_digest


def check_dataset(config: DatasetConfig, lengths: "Lengths") -> dict[str, Any]:
    """Check both files and return what the run's result records.

    Raises:
        JobInputError: The first thing that is wrong; names file and line.
    """
    for path, digest in (
        (config.train_path, config.train_digest),
        (config.heldout_path, config.heldout_digest),
    ):
        refuse_other_digest(path, digest)
    train, heldout = read_pairs(config.train_path), read_pairs(config.heldout_path)
    if len(train) < config.min_reviewed:
        raise JobInputError(
            f"{config.train_path}: {len(train)} pairs, min_reviewed is {config.min_reviewed}: "
            "collect more, or lower min_reviewed knowingly"
        )
    _refuse_contamination(config, train, heldout)
    tokens = lengths.of(train)
    refuse_long_rows(config.train_path, train, tokens, config.max_seq_length)
    ordered = sorted(tokens)
    return {
        "rows": len(train),
        "heldout_rows": len(heldout),
        "tokens": sum(tokens),
        "tokens_median": ordered[len(ordered) // 2],
        "tokens_longest": ordered[-1],
    }


class Lengths:
    """Token counts of pairs under a model's own chat template."""

    def __init__(self, tokenizer_directory: Path) -> None:
        """Load the tokenizer.

        Raises:
            OSError: There is none in the directory.
        """
        from transformers import AutoTokenizer  # noqa: PLC0415  seconds to import

        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)

    def of(self, pairs: list[Pair]) -> list[int]:
        """Tokens of prompt and answer together, for each pair."""
        texts = [
            self._tokenizer.apply_chat_template(
                [
                    {"role": "user", "content": pair.input},
                    {"role": "assistant", "content": pair.output},
                ],
                tokenize=False,
            )
            for pair in pairs
        ]
        return [len(ids) for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _refuse_contamination(config: DatasetConfig, train: list[Pair], heldout: list[Pair]) -> None:
    inputs = {normalised(pair.input): pair.line for pair in train}
    for pair in heldout:
        line = inputs.get(normalised(pair.input))
        if line is not None:
            raise JobInputError(
                f"{config.heldout_path}:{pair.line}: the input is line {line} of "
                f"{config.train_path}: held-out pairs must not be trained on"
            )


def _collect(config: DatasetConfig, reporter: RunReporter) -> None:
    if config.collector is None or config.train_path.exists():
        return
    reporter.progress(message=f"collecting pairs ({config.collector})")
    module = importlib.import_module(f"training_jobs.collect.{config.collector}")
    arguments = ["--out", str(config.train_path.parent)]
    if module.main(arguments) != 0:
        raise JobInputError(f"the collector {config.collector} failed: see the job's log")


def _main(config: DatasetConfig, store: ObjectStore, reporter: RunReporter) -> None:
    """Collect where configured, check, record."""
    del store
    try:
        _collect(config, reporter)
        reporter.progress(message="checking the pairs")
        result = check_dataset(config, Lengths(config.tokenizer_directory))
    except JobInputError as error:
        sys.stderr.write(f"refused: {error}\n")
        reporter.refused(str(error))
        return
    reporter.succeeded(result)


if __name__ == "__main__":
    run_job(DatasetConfig, _main)
