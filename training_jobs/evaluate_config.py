"""Configuration of the evaluation job."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from registry.documents import Document
from registry.names import DomainName, VersionField

Metric = Literal["aws_service", "java_exact"]
SwitchableCheck = Literal["faithfulness", "swe_bench_resolved", "garak_critical"]
NOT_IMPLEMENTED: tuple[SwitchableCheck, ...] = get_args(SwitchableCheck)
"""Checks of the gate that this version cannot run: each is switched off with a reason, or fails."""


class EvaluateConfig(Document):
    """What is judged, on which rows, by which gate."""

    registry_uri: str
    domain: DomainName
    customer: str
    """Who is billed for the GPU time."""
    version: VersionField
    run_id: str
    openai_url: str
    """OpenAI-compatible API of the engine that serves candidate, base and live release."""
    served_name: str
    base_name: str
    live_name: str | None
    """The release that must not be worse than it; None when there is none."""
    train_path: Path
    train_digest: str
    heldout_path: Path
    heldout_digest: str
    metric: Metric
    rows: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    margin: float = Field(ge=0, le=1)
    gate_digest: str
    evaluation_key: str
    """What signs the verdict; see `registry.signing.open_signer`."""
    off: dict[SwitchableCheck, str]
    """Checks that do not apply, each with its reason."""
    ready_timeout_s: float = Field(default=300, gt=0)

    @property
    def asked_names(self) -> tuple[str, ...]:
        """Models that the held-out rows are asked of."""
        names = (self.served_name, self.base_name, self.live_name)
        return tuple(name for name in names if name)
