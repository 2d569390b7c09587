"""Which versions may be served: those with a signed, passing verdict over their very bundle."""

from pathlib import Path

from registry.errors import NotFoundError, RegistryError
from registry.evaluation import Evaluation, read_evaluation, verify
from registry.manifest import Manifest, PoolAdapter, adapter_digest, bundle_digest, read_manifest
from registry.names import Version
from registry.store import ObjectStore


def read_consistent_manifest(store: ObjectStore, domain: str, version: Version) -> Manifest:
    """A manifest whose digests follow from what it lists.

    Raises:
        NotFoundError: The version does not exist.
        RegistryError: The manifest is damaged, of another version, or its digests do not add up.
    """
    manifest = read_manifest(store, domain, version)
    place = f"manifest of {domain} {version}"
    if (manifest.domain, manifest.version) != (domain, version):
        raise RegistryError(f"{place}: it is of {manifest.domain} {manifest.version}")
    if bundle_digest(domain, version, manifest.pools) != manifest.bundle_digest:
        raise RegistryError(f"{place}: bundle_digest does not follow from its pools")
    for pool, entry in manifest.pools.items():
        if isinstance(entry, PoolAdapter) and adapter_digest(entry.files) != entry.adapter_digest:
            raise RegistryError(f"{place}: adapter_digest of {pool} does not follow from its files")
    return manifest


def read_verdict(
    store: ObjectStore, manifest: Manifest, public_key: Path | bytes
) -> Evaluation | None:
    """The verdict on a bundle, signature and bundle checked; None before its evaluation.

    Raises:
        RegistryError: The verdict is damaged, not signed by this key, or over another bundle.
    """
    try:
        evaluation = read_evaluation(store, manifest.domain, manifest.version)
    except NotFoundError:
        return None
    verify(evaluation, public_key)
    judged = (evaluation.domain, evaluation.version, evaluation.bundle_digest)
    if judged != (manifest.domain, manifest.version, manifest.bundle_digest):
        raise RegistryError(
            f"evaluation of {manifest.domain} {manifest.version}: it judges another bundle "
            f"({evaluation.domain} {evaluation.version} {evaluation.bundle_digest[:19]}…)"
        )
    return evaluation


def read_releasable(
    store: ObjectStore, domain: str, version: Version, public_key: Path
) -> Manifest:
    """The manifest of a version that may be live.

    Raises:
        NotFoundError: The version does not exist.
        RegistryError: It may not be served; says why.
    """
    manifest = read_consistent_manifest(store, domain, version)
    verdict = read_verdict(store, manifest, public_key)
    if verdict is None:
        raise RegistryError(f"{domain} {version} has no evaluation: it is not served as a release")
    if not verdict.passed:
        raise RegistryError(
            f"{domain} {version} did not pass its evaluation "
            f"({'; '.join(verdict.failures()) or 'no check passed'}): it is not served"
        )
    return manifest
