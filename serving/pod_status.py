"""What adapter-sync says about its model server at GET /status, and the router reads."""

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


class PodStatus(BaseModel):
    """One model server. Unknown keys are passed over, so that either side may be newer."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pod: str
    base: bool
    """Whether the server answers with its base model."""
    adapters: dict[str, AdapterStatus]
    """By served name."""

    def loaded(self) -> frozenset[tuple[str, str]]:
        """Served name and digest of every adapter that answers."""
        return frozenset(
            (name, adapter.digest)
            for name, adapter in self.adapters.items()
            if adapter.state == "loaded"
        )
