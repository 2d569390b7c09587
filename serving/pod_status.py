"""What adapter-sync says about its model server at GET /status, and the router reads."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class AdapterStatus(BaseModel):
    """One adapter on one server."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    domain: str
    version: str
    digest: str
    """Adapter digest of the manifest."""
    state: Literal["loaded", "loading", "failed"]
    reason: str = ""
    """Why it is not loaded, or what is odd about it."""
    loaded_at: str | None = None
    """RFC 3339 in UTC; None unless loaded."""


class ProbeCounts(BaseModel):
    """What adapter-sync asked of its model server: the server counts it like any request."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    since: datetime
    """When it began to count, at its start."""
    requests: int = 0
    """Answered, with these tokens."""
    prompt_tokens: int = 0
    generation_tokens: int = 0
    failed: int = 0
    """Not answered; whether the server worked on them is not known."""
    in_progress: int = 0


class PodStatus(BaseModel):
    """One model server. Unknown keys are passed over, so that either side may be newer."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pod: str
    base: bool
    """Whether the server answers with its base model."""
    adapters: dict[str, AdapterStatus]
    """By served name."""
    probes: ProbeCounts | None = None

    def loaded(self) -> frozenset[tuple[str, str]]:
        """Served name and digest of every adapter that answers."""
        return self._in_state("loaded")

    def failed(self) -> frozenset[tuple[str, str]]:
        """Served name and digest of every adapter that could not be loaded."""
        return self._in_state("failed")

    def _in_state(self, state: str) -> frozenset[tuple[str, str]]:
        return frozenset(
            (name, adapter.digest)
            for name, adapter in self.adapters.items()
            if adapter.state == state
        )
