"""Configuration of the traces."""

from pydantic import Field

from registry.documents import Document
from serving.settings import HttpUrl


class TracingConfig(Document):
    """Where traces go."""

    otlp_endpoint: HttpUrl
    """OTLP/HTTP traces endpoint, such as `http://127.0.0.1:5000/v1/traces`."""
    mlflow_url: HttpUrl | None = None
    """MLflow server whose experiment receives the traces; None for another OTLP receiver."""
    experiment: str = Field(default="inference", min_length=1)
    environment: str = Field(default="local", min_length=1)
    queue: int = Field(default=2048, ge=1)
    """Traces that may wait; more are dropped and counted."""
