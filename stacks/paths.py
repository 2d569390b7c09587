"""The project's name, and where it and its local state lie."""

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = "custom-model-pipeline"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class StateDirectory:
    """Everything that a local environment keeps; nothing of it lies elsewhere."""

    path: Path

    @classmethod
    def default(cls) -> "StateDirectory":
        """`PIPELINE_STATE_DIR`, or `.local` in the project."""
        return cls(Path(os.environ.get("PIPELINE_STATE_DIR", ROOT / ".local")).resolve())

    @property
    def registry_uri(self) -> str:
        """Where the adapters of every local environment are."""
        return f"file://{self.path}/registry"

    def home(self, environment: str) -> Path:
        """Directory of one environment."""
        return self.path / environment
