"""Configuration of the training job."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from registry.documents import Document
from registry.names import DomainName


class TrainConfig(Document):
    """What is trained, on what, and how. The stack has validated the hyperparameters."""

    registry_uri: str
    domain: DomainName
    customer: str
    """Who is billed for the GPU time."""
    run_id: str
    engine: Literal["peft"]
    method: Literal["lora"]
    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: tuple[str, ...]
    max_seq_length: int = Field(ge=16)
    answer_tokens: int | None = Field(default=None, ge=1)
    """Train on the first tokens of each answer only; None for the whole answer."""
    learning_rate: float = Field(gt=0, le=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    seed: int = Field(ge=0)
    train_path: Path
    dataset_digest: str
    base_directory: Path
    work_directory: Path
    """Checkpoints and the finished adapter; survives the job."""
    mlflow_url: str | None
    """Tracking server; None records nothing."""
    experiment: str

    def hyperparameters(self) -> dict[str, object]:
        """What MLflow records as parameters."""
        names = {
            "engine",
            "method",
            "rank",
            "alpha",
            "dropout",
            "target_modules",
            "max_seq_length",
            "answer_tokens",
            "learning_rate",
            "steps",
            "batch_size",
            "seed",
            "dataset_digest",
        }
        return self.model_dump(include=names)
