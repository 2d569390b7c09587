"""Configuration of the exporter."""

from pydantic import Field

from registry.documents import Document
from serving.settings import Listen


class ExporterConfig(Document):
    """What to read, and how often."""

    listen: Listen
    registry_uri: str
    warehouse_uri: str
    interval_s: float = Field(default=60.0, gt=0)
