"""Configuration of the reporter of pods."""

from pathlib import Path
from typing import Final

from pydantic import Field

from registry.documents import Document

POOL_LABEL: Final = "custom-model-pipeline/pool"
"""Label of a model pod; its value is the pool that it serves."""


class PodReportsConfig(Document):
    """Which pods are reported, and where to."""

    warehouse_uri: str = Field(pattern=r"^(file:///|s3://)\S+$")
    namespace: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    selector: str = Field(default=POOL_LABEL, min_length=1)
    """Label selector; as it stands, every pod that has a pool."""
    source: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Name of the reports: one for each cluster and namespace. No two reporters share it."""
    interval_s: float = Field(default=30, gt=0)
    """A pod that is deleted loses at most this time from its report."""
    timeout_s: float = Field(default=10, gt=0)
    """Of one question to the Kubernetes API."""
    kubeconfig: Path | None = None
    """None inside the cluster: the token and the address that Kubernetes gives every pod."""
