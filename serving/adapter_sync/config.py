"""Configuration of the adapter-sync process."""

import socket
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from registry.documents import Document
from registry.names import PoolName
from serving.settings import HttpUrl, Listen


class AdapterSyncConfig(Document):
    """Everything adapter-sync needs; paths are absolute and seen by the model server too."""

    listen: Listen
    registry_uri: str
    evaluation_public_key: Path
    vllm_url: HttpUrl
    served_base: str = Field(min_length=1)
    """Name under which the model server serves its base: adapters of another base are refused."""
    adapters_dir: Path
    pool: PoolName
    max_loras: int = Field(default=4, ge=1)
    """Adapters that the server can use in one batch."""
    max_cpu_loras: int = Field(default=8, ge=1)
    """Adapters that the server keeps in memory: releases come first, candidates last."""
    max_lora_rank: int = Field(default=16, ge=1)
    include_candidates: bool = False
    """Also load versions that wait for their evaluation."""
    interval_s: float = Field(default=2.0, gt=0)
    retire_grace_s: float = Field(default=60.0, ge=0)
    """Time that an adapter stays loaded, and then on disk, after nothing wants it any more."""
    request_timeout_s: float = Field(default=180.0, gt=0)
    probe_prompt: str = Field(default="Translate to Java: ADD 1 TO WS-TOTAL.", min_length=1)
    pod: str = Field(default_factory=socket.gethostname, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for path in (self.evaluation_public_key, self.adapters_dir):
            if not path.is_absolute():
                raise ValueError(f"path {str(path)!r} is not absolute")
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(
                f"max_cpu_loras {self.max_cpu_loras} is below max_loras {self.max_loras}"
            )
        return self
