"""Where things lie in the registry."""

import re
from typing import Final

from registry.names import PoolName, Version

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_FILES: Final = (ADAPTER_WEIGHTS, ADAPTER_CONFIG)

# The last three are of the billing warehouse (serving/warehouse/layout.py), which is such a store.
_IMMUTABLE = re.compile(
    r"lora-adapters/[^/]+/v\d+\.\d+/.+"
    r"|approvals/.+"
    r"|runs/[^/]+/[^/]+/result\.json"
    r"|closed/.+"
    r"|closed-heads/.+"
    r"|notes/.+"
)


def is_immutable(key: str) -> bool:
    """Whether an object under this key may only be created (both stores refuse to replace it)."""
    return _IMMUTABLE.fullmatch(key) is not None


def version_prefix(domain: str, version: Version) -> str:
    """Everything of one version."""
    return f"lora-adapters/{domain}/{version}/"


def adapter_file(domain: str, version: Version, pool: PoolName, name: str) -> str:
    """One file of one pool's adapter."""
    return f"{version_prefix(domain, version)}{pool}/{name}"


def manifest(domain: str, version: Version) -> str:
    """The manifest, written last: the version exists when it does."""
    return f"{version_prefix(domain, version)}manifest.json"


def evaluation(domain: str, version: Version) -> str:
    """The signed verdict of the evaluation gate."""
    return f"{version_prefix(domain, version)}evaluation.json"


def pointer(domain: str) -> str:
    """The pointer of the domain: which version is live."""
    return f"lora-adapters/{domain}/latest"


def approvals_prefix(domain: str, version: Version) -> str:
    """Every decision on one version."""
    return f"approvals/{domain}/{version}/"


def reviewer_prefix(domain: str, version: Version, reviewer: str) -> str:
    """Every decision of one reviewer: a place of their own, which a role can be bound to."""
    return f"{approvals_prefix(domain, version)}{reviewer_key(reviewer)}/"


def reviewer_key(reviewer: str) -> str:
    """A reviewer's name as part of a key, which has no place for an @; names have none for a =."""
    return reviewer.replace("@", "=")


def run_prefix(domain: str, run_id: str) -> str:
    """Everything of one run of one job."""
    return f"runs/{domain}/{run_id}/"


def run_status(domain: str, run_id: str) -> str:
    """Progress of a run; overwritten."""
    return f"{run_prefix(domain, run_id)}status.json"


def run_result(domain: str, run_id: str) -> str:
    """Result of a run; its existence means that the run is done and never runs again."""
    return f"{run_prefix(domain, run_id)}result.json"


def run_traffic(domain: str, run_id: str, start: int) -> str:
    """What one start of a run asked of a model server."""
    return f"{run_prefix(domain, run_id)}traffic-{start}.json"


def run_adapter_file(domain: str, run_id: str, name: str) -> str:
    """One file of the adapter that a training run made."""
    return f"{run_prefix(domain, run_id)}adapter/{name}"
