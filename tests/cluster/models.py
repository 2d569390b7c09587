"""The models that the node serves: a real base, and adapters whose answers are known."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import python
from stacks.paths import ROOT

WORDS: Mapping[str, str] = {"bank-ledger": "red", "stock-order": "blue"}
"""What the adapter of a domain answers, whatever it is asked."""
KEPT = "PIPELINE_TEST_MODELS"
"""Variable with a folder that keeps the models from one run to the next."""


@dataclass(frozen=True)
class Models:
    """Folders of the base model and of the adapters, by domain."""

    base: Path
    adapters: Mapping[str, Path]


def make_models(folder: Path) -> Models:
    """Make the models with the training environment, or take those that a folder keeps.

    Raises:
        subprocess.CalledProcessError: A program failed.
    """
    folder = Path(os.environ.get(KEPT, folder))
    base, adapters = folder / "base", folder / "adapters"
    if not base.exists():
        _run("training_jobs.base_model", "--out", str(base))
    missing = [word for word in WORDS.values() if not (adapters / word).exists()]
    if missing:
        teach = ("--base", str(base), "--out", str(adapters))
        _run("benchmarks.swap_adapters", *teach, *missing)
    return Models(base, {domain: adapters / word for domain, word in WORDS.items()})


def _run(module: str, *arguments: str) -> None:
    subprocess.run([python(".venv-train"), "-m", module, *arguments], cwd=ROOT, check=True)
