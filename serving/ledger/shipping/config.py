"""Configuration of the shipper process."""

import socket
from pathlib import Path

from pydantic import Field, field_validator

from registry.documents import Document


class ShipperConfig(Document):
    """Everything the shipper needs."""

    ledger_dir: Path
    """Absolute; the router's `ledger_dir`."""
    writer: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        validate_default=True,
    )
    """Name of the router, the same after a restart: by default the host's, which in Kubernetes is
    that of the StatefulSet's pod."""
    warehouse_uri: str = Field(pattern=r"^(file:///|s3://)\S+$")
    interval_s: float = Field(default=10, gt=0)

    @field_validator("ledger_dir")
    @classmethod
    def _is_absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError(f"path {str(path)!r} is not absolute")
        return path
