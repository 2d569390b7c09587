"""Configuration of billing."""

from pathlib import Path

from pydantic import Field

from registry.documents import Document
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights

_STORE_URI = r"^(file:///|s3://)\S+$"


class BillingConfig(Document):
    """What is billed, with which prices."""

    environment: str
    warehouse_uri: str = Field(pattern=_STORE_URI)
    registry_uri: str = Field(pattern=_STORE_URI)
    """Where jobs leave their results, with the customer who is billed for each."""
    customers: dict[str, str] = Field(default={})
    """The customer of a domain, for results from before they named one."""
    prices: Path
    """YAML file of the price table."""
    weights: GpuWeights = UNCALIBRATED
    cache: Path | None = None
    """Folder for local copies and temporary files; where the platform keeps caches when None."""
