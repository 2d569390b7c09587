"""A scratch registry, and the request path on it, for benchmarks."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry import documents, layout
from registry.digests import file_digest
from registry.evaluation import CheckResult, Evaluation, create_key_pair, sign, write_evaluation
from registry.manifest import Manifest, PoolAdapter, adapter_digest, bundle_digest
from registry.names import PoolName, Version
from registry.pointer import read_pointer, release
from registry.signing import FileSigner
from registry.store import open_store

POOL: PoolName = "slm"
BASE = "llama-8b"
_POD = "vllm-0"


@dataclass(frozen=True)
class ScratchRegistry:
    """Registry, key pair and tenancy records below one folder."""

    root: Path

    @property
    def uri(self) -> str:
        """URI of the registry."""
        return f"file://{self.root}/registry"

    @property
    def public_key(self) -> Path:
        """What verdicts are verified with."""
        return self.root / "evaluation.pub"

    @property
    def domains_dir(self) -> Path:
        """Folder of the tenancy records."""
        return self.root / "domains"

    def create(self) -> None:
        """Start empty."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.domains_dir.mkdir(parents=True)
        create_key_pair(self.root / "evaluation.key", self.public_key)

    def configs(
        self, vllm_url: str, *, sync_port: int, router_port: int
    ) -> dict[str, dict[str, Any]]:
        """Configurations of `serving.adapter_sync` and `serving.router`, by package name."""
        common = {"registry_uri": self.uri, "evaluation_public_key": str(self.public_key)}
        server = {
            "pod": _POD,
            "base_url": vllm_url,
            "adapter_sync_url": f"http://127.0.0.1:{sync_port}",
        }
        pool = {
            "servers": [server],
            "served_base": BASE,
            "aliases": [POOL],
        }
        adapter_sync = {
            "listen": {"port": sync_port},
            "vllm_url": vllm_url,
            "served_base": BASE,
            "adapters_dir": str(self.root / "adapters"),
            "pool": POOL,
            "pod": _POD,
        }
        router = {
            "listen": {"port": router_port},
            "pools": {POOL: pool},
            "domains_dir": str(self.domains_dir),
            "ledger_dir": str(self.root / "ledger"),
        }
        return {"adapter_sync": common | adapter_sync, "router": common | router}

    def domain(self, name: str) -> str:
        """Write a tenancy record; returns the domain's key."""
        key = f"cmp_{name}_{hashlib.sha256(name.encode()).hexdigest()[:43]}"
        record = {
            "schema": 1,
            "domain": name,
            "customer": f"customer of {name}",
            "key_hashes": [f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"],
            "pools": [POOL],
        }
        (self.domains_dir / f"{name}.json").write_text(json.dumps(record))
        return key

    def release(self, domain: str, version: Version, adapter: Path) -> None:
        """Publish, judge and release a version: its files are those of `adapter`."""
        manifest = self._publish(domain, version, adapter)
        verdict = Evaluation(
            domain=domain,
            version=version,
            bundle_digest=manifest.bundle_digest,
            gate_digest="sha256:benchmark",
            checks=(CheckResult(name="benchmark", status="passed"),),
            created_at=datetime.now(UTC),
        )
        store = open_store(self.uri)
        write_evaluation(store, sign(verdict, FileSigner(self.root / "evaluation.key")))
        release(
            store,
            domain,
            version=version,
            bundle_digest=manifest.bundle_digest,
            generation=read_pointer(store, domain).generation,
            by="benchmark",
        )

    def _publish(self, domain: str, version: Version, adapter: Path) -> Manifest:
        store = open_store(self.uri)
        for name in layout.ADAPTER_FILES:
            key = layout.adapter_file(domain, version, POOL, name)
            store.put_file(key, adapter / name, if_none_match=True)
        files = {name: file_digest(adapter / name) for name in layout.ADAPTER_FILES}
        entry = PoolAdapter(
            files=files,
            adapter_digest=adapter_digest(files),
            rank=16,
            target_modules=("k_proj", "o_proj", "q_proj", "v_proj"),
            base_model=BASE,
            run_id="benchmark",
        )
        manifest = Manifest(
            domain=domain,
            version=version,
            bundle_digest=bundle_digest(domain, version, {POOL: entry}),
            pools={POOL: entry},
            dataset_digest="sha256:benchmark",
            inputs_digest="sha256:benchmark",
            created_at=datetime.now(UTC),
        )
        key = layout.manifest(domain, version)
        store.put(key, documents.encode(manifest), if_none_match=True)
        return manifest


def write_adapter(directory: Path) -> Path:
    """The smallest files that pass for an adapter, in a new folder; returns the folder."""
    directory.mkdir()
    header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + b"contents"
    (directory / layout.ADAPTER_WEIGHTS).write_bytes(weights)
    config = {"base_model_name_or_path": BASE}
    (directory / layout.ADAPTER_CONFIG).write_text(json.dumps(config))
    return directory
