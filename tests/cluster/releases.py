"""Releases that no job made: an adapter of the test, judged and released by the test."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from registry import documents, layout
from registry.digests import file_digest
from registry.evaluation import CheckResult, Evaluation, sign, write_evaluation
from registry.manifest import Manifest, PoolAdapter, adapter_digest, bundle_digest
from registry.names import PoolName, Version
from registry.pointer import read_pointer, release
from registry.signing import FileSigner
from registry.store import ObjectStore

_POOL: PoolName = "slm"
_MODULES = ("k_proj", "o_proj", "q_proj", "v_proj")
_BY = "the-test"


@dataclass(frozen=True, kw_only=True)
class Released:
    """What is published, and under which digests of the domain's stack."""

    domain: str
    version: Version
    adapter: Path
    """Folder of its files."""
    base: str
    """Name that the base model is served by."""
    inputs_digest: str
    gate_digest: str


def publish_and_release(store: ObjectStore, released: Released, private_key: Path) -> None:
    """Publish a version, judge it with the environment's key and make it live."""
    manifest = _publish(store, released)
    verdict = Evaluation(
        domain=released.domain,
        version=released.version,
        bundle_digest=manifest.bundle_digest,
        gate_digest=released.gate_digest,
        checks=(CheckResult(name="known answer", status="passed"),),
        created_at=datetime.now(UTC),
    )
    write_evaluation(store, sign(verdict, FileSigner(private_key)))
    release(
        store,
        released.domain,
        version=released.version,
        bundle_digest=manifest.bundle_digest,
        generation=read_pointer(store, released.domain).generation,
        by=_BY,
    )


def truncated(adapter: Path, folder: Path) -> Path:
    """A copy of an adapter whose weights end early: what their header names is not there."""
    shutil.copytree(adapter, folder)
    weights = folder / layout.ADAPTER_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4096])
    return folder


def _publish(store: ObjectStore, released: Released) -> Manifest:
    files = {name: file_digest(released.adapter / name) for name in layout.ADAPTER_FILES}
    for name in layout.ADAPTER_FILES:
        key = layout.adapter_file(released.domain, released.version, _POOL, name)
        store.put_file(key, released.adapter / name, if_none_match=True)
    pools: dict[PoolName, PoolAdapter | Literal["base"]] = {_POOL: _entry(released, files)}
    manifest = Manifest(
        domain=released.domain,
        version=released.version,
        bundle_digest=bundle_digest(released.domain, released.version, pools),
        pools=pools,
        dataset_digest=f"sha256:{'1' * 64}",
        inputs_digest=released.inputs_digest,
        created_at=datetime.now(UTC),
    )
    key = layout.manifest(released.domain, released.version)
    store.put(key, documents.encode(manifest), if_none_match=True)
    return manifest


def _entry(released: Released, files: Mapping[str, str]) -> PoolAdapter:
    return PoolAdapter(
        files=dict(files),
        adapter_digest=adapter_digest(dict(files)),
        rank=16,
        target_modules=_MODULES,
        base_model=released.base,
        run_id=_BY,
    )
