"""Publish a version: check what training made, then write its files and, last, its manifest.

`python -m registry.publish --config FILE`; the job between training and evaluation.
"""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from registry import documents, layout
from registry.adapter_check import base_linear_modules, check_adapter
from registry.digests import file_digest
from registry.documents import Document
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.job import run_job
from registry.layout import ADAPTER_CONFIG, ADAPTER_FILES
from registry.manifest import Manifest, PoolAdapter, PoolEntry, adapter_digest, bundle_digest
from registry.names import DomainName, PoolName, Version, VersionField
from registry.runs import RunReporter, read_result
from registry.store import ObjectStore


class PoolSource(Document):
    """Where one pool's adapter comes from."""

    run_id: str
    """The training run."""
    rank: int
    base_model: str
    """Name under which the pool serves its base: what adapter_config.json must say."""
    base_directory: Path
    """Files of the base model, for the names of its modules."""


class PublishConfig(Document):
    """Configuration of the publish job."""

    registry_uri: str
    domain: DomainName
    version: VersionField
    run_id: str
    inputs_digest: str
    dataset_digest: str
    pools: dict[PoolName, PoolSource | None]
    """None: the release leaves that pool on its base model."""


def publish(
    store: ObjectStore, config: PublishConfig, *, reporter: RunReporter | None = None
) -> Manifest:
    """Check every pool's adapter, then write files and manifest, each at most once.

    Raises:
        RegistryError: An adapter is not acceptable, or the version exists with other content.
    """
    entries: dict[PoolName, PoolEntry] = {}
    mlflow_runs: dict[PoolName, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for pool, source in config.pools.items():
            if source is None:
                entries[pool] = "base"
                continue
            if reporter is not None:
                reporter.progress(message=f"checking the adapter of pool {pool}")
            directory = Path(scratch) / pool
            mlflow_runs[pool] = _fetch(store, config.domain, source, directory)
            entries[pool] = _entry(directory, source)
            _write_files(store, config.domain, config.version, pool, directory)
    manifest = Manifest(
        domain=config.domain,
        version=config.version,
        bundle_digest=bundle_digest(config.domain, config.version, entries),
        pools=entries,
        dataset_digest=config.dataset_digest,
        inputs_digest=config.inputs_digest,
        mlflow_run_ids=mlflow_runs,
        created_at=datetime.now(UTC),
    )
    return _write_manifest(store, manifest)


def _fetch(store: ObjectStore, domain: str, source: PoolSource, directory: Path) -> str:
    """Bring a run's adapter to `directory`, digests checked; return its MLflow run."""
    result = read_result(store, domain, source.run_id)
    if result is None or result.verdict != "ok":
        raise RegistryError(f"run {source.run_id} of {domain} has no adapter to publish")
    directory.mkdir()
    for name in ADAPTER_FILES:
        path = directory / name
        store.get_to_file(layout.run_adapter_file(domain, source.run_id, name), path)
        expected = result.result["files"].get(name)
        if file_digest(path) != expected:
            raise RegistryError(f"run {source.run_id}: {name} is not the file that training made")
    return str(result.result.get("mlflow_run_id", ""))


def _entry(directory: Path, source: PoolSource) -> PoolAdapter:
    facts = check_adapter(
        directory, rank=source.rank, base_modules=base_linear_modules(source.base_directory)
    )
    _rewrite_base(directory / ADAPTER_CONFIG, source.base_model)
    files = {name: file_digest(directory / name) for name in ADAPTER_FILES}
    return PoolAdapter(
        files=files,
        adapter_digest=adapter_digest(files),
        rank=facts.rank,
        target_modules=facts.target_modules,
        base_model=source.base_model,
        run_id=source.run_id,
    )


def _rewrite_base(path: Path, base_model: str) -> None:
    """Training records where it read the base from; serving compares with the served name."""
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base_model
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _write_files(
    store: ObjectStore, domain: str, version: Version, pool: PoolName, directory: Path
) -> None:
    for name in ADAPTER_FILES:
        key = layout.adapter_file(domain, version, pool, name)
        try:
            store.put_file(key, directory / name, if_none_match=True)
        except PreconditionFailedError:
            # An interrupted publish wrote it; the same content is what we want.
            if store.get(key).data != (directory / name).read_bytes():
                raise RegistryError(
                    f"{key} exists with other content: {version} cannot be published, "
                    "set `version` to a new one"
                ) from None


def _write_manifest(store: ObjectStore, manifest: Manifest) -> Manifest:
    key = layout.manifest(manifest.domain, manifest.version)
    try:
        store.put(key, documents.encode(manifest), if_none_match=True)
    except PreconditionFailedError:
        existing = documents.read(store, key, Manifest)[0]
        if existing.bundle_digest != manifest.bundle_digest:
            raise RegistryError(
                f"{manifest.domain} {manifest.version} exists as another bundle: "
                "set `version` to a new one"
            ) from None
        return existing
    return manifest


def _main(config: PublishConfig, store: ObjectStore, reporter: RunReporter) -> None:
    try:
        manifest = publish(store, config, reporter=reporter)
    except NotFoundError:
        # What is not there may come back: a fault, not a verdict.
        raise
    except RegistryError as error:
        reporter.refused(str(error))
        return
    reporter.succeeded({"bundle_digest": manifest.bundle_digest})


if __name__ == "__main__":
    run_job(PublishConfig, _main)
