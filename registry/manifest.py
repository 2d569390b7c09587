"""The manifest of a version: a bundle of one adapter (or the base model) per pool."""

import re
from datetime import datetime
from typing import Literal

from pydantic import Field

from registry import documents, layout
from registry.documents import Document
from registry.names import DOMAIN_PATTERN, DomainName, PoolName, Version, VersionField
from registry.store import ObjectStore


class PoolAdapter(Document):
    """The adapter that one pool serves."""

    kind: Literal["adapter"] = "adapter"
    files: dict[str, str]
    """File name to `sha256:<hex>` of its bytes."""
    adapter_digest: str
    """Digest over `files`: the identity of the weights."""
    rank: int
    target_modules: tuple[str, ...]
    base_model: str
    """The served base that the adapter belongs to."""
    run_id: str
    """The training run that made it."""


PoolEntry = PoolAdapter | Literal["base"]


class Manifest(Document):
    """What a version is. It is written last, so a version without one does not exist."""

    schema_version: Literal[1] = 1
    domain: DomainName
    version: VersionField
    bundle_digest: str
    """What evaluations and approvals refer to; see `bundle_digest`."""
    pools: dict[PoolName, PoolEntry]
    dataset_digest: str
    inputs_digest: str
    """Digest of everything that changes the weights: a version never exists under two of them."""
    mlflow_run_ids: dict[PoolName, str] = Field(default_factory=dict)
    created_at: datetime

    def adapter(self, pool: PoolName) -> PoolAdapter | None:
        """The pool's adapter; None when the release leaves that pool on its base model."""
        entry = self.pools.get(pool)
        return entry if isinstance(entry, PoolAdapter) else None


def adapter_digest(files: dict[str, str]) -> str:
    """Identity of an adapter from its files' digests."""
    return documents.digest(files)


def bundle_digest(domain: str, version: Version, pools: dict[PoolName, PoolEntry]) -> str:
    """Identity of a release bundle: domain, version, and each pool's weights on their base."""
    parts = {
        pool: "base"
        if entry == "base"
        else {"adapter": entry.adapter_digest, "base": entry.base_model}
        for pool, entry in pools.items()
    }
    return documents.digest({"domain": domain, "version": str(version), "pools": parts})


def read_manifest(store: ObjectStore, domain: str, version: Version) -> Manifest:
    """Read the manifest of a version.

    Raises:
        NotFoundError: The version does not exist.
        RegistryError: The manifest is damaged.
    """
    return documents.read(store, layout.manifest(domain, version), Manifest)[0]


def list_versions(store: ObjectStore, domain: str) -> list[Version]:
    """Every version of a domain that has a manifest, oldest first."""
    keys = store.list(f"lora-adapters/{domain}/")
    return sorted(
        Version.parse(parts[2])
        for parts in (key.split("/") for key in keys)
        if len(parts) == 4 and parts[3] == "manifest.json"
    )


def list_domains(store: ObjectStore) -> list[str]:
    """Every domain that has a version or a pointer; what is no domain's name is not one."""
    names = {key.split("/")[1] for key in store.list("lora-adapters/") if key.count("/") >= 2}
    return sorted(name for name in names if re.match(DOMAIN_PATTERN, name))
