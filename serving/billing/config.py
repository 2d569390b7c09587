"""Configuration of the billing jobs."""

from pathlib import Path

from pydantic import Field

from registry.documents import Document
from serving.billing.gpu_time import UNCALIBRATED, GpuWeights


class BillingConfig(Document):
    """What the jobs bill, with which prices."""

    environment: str
    warehouse_uri: str = Field(pattern=r"^(file:///|s3://)\S+$")
    prices: Path
    """YAML file of the price table."""
    weights: GpuWeights = UNCALIBRATED
