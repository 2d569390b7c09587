"""Configuration of cluster-watch."""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from registry.documents import Document
from registry.names import PoolName
from serving.settings import Listen

TENANCY_LABEL: Final = "custom-model-pipeline/tenancy"
"""Label of a ConfigMap with a tenancy record; its value is `true`."""
TENANCY_KEY: Final = "record.json"
"""Key of the record in the ConfigMap's data. The ConfigMap is named `tenancy-<domain>`."""
HTTP_PORT: Final = "http"
"""Name of a model pod's port for inference, in the pool's headless Service."""
ADAPTER_SYNC_PORT: Final = "adapter-sync"
"""Name of a model pod's port for the report of its adapters."""

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class ClusterWatchConfig(Document):
    """What is watched, and where it is written; paths are absolute."""

    namespace: DnsLabel
    pools: dict[PoolName, DnsLabel] = Field(min_length=1)
    """The headless Service of each pool."""
    domains_dir: Path
    pools_dir: Path
    listen: Listen
    """Where health and metrics are shown."""
    watch_s: int = Field(default=60, ge=1)
    """How long one watch lasts; everything is listed again after it. A connection that died without
    a word is noticed then."""
    retry_s: float = Field(default=2, gt=0)
    """Time until a failed list or watch is tried again."""
    timeout_s: float = Field(default=10, gt=0)
    """Of connecting, and of one list."""
    kubeconfig: Path | None = None
    """None inside the cluster: the token and the address that Kubernetes gives the pod."""

    @model_validator(mode="after")
    def _paths_are_absolute(self) -> Self:
        for path in (self.domains_dir, self.pools_dir):
            if not path.is_absolute():
                raise ValueError(f"path {str(path)!r} is not absolute")
        return self


def tenancy_name(domain: str) -> str:
    """Name of the ConfigMap with the tenancy record of a domain."""
    return f"tenancy-{domain}"
