"""Release a version: verify the whole gate again, then move the pointer.

`python -m registry.release_job --config FILE`. What `up` saw when it declared this job may have
changed, so nothing is taken from there but the generation that the decision was made on.
"""

from pathlib import Path

from registry import pointer
from registry.approvals import read_decisions, tally
from registry.documents import Document
from registry.errors import NotFoundError, RegistryError
from registry.job import run_job
from registry.names import DomainName, VersionField
from registry.runs import RunReporter
from registry.store import ObjectStore
from registry.verified import read_consistent_manifest, read_verdict


class ReleaseConfig(Document):
    """Configuration of the release job."""

    registry_uri: str
    domain: DomainName
    version: VersionField
    run_id: str
    generation: int
    bundle_digest: str
    gate_digest: str
    evaluation_public_key: Path
    reviewers: tuple[str, ...] | None
    approvals_required: int


def release(store: ObjectStore, config: ReleaseConfig) -> pointer.Pointer:
    """Verify manifest, verdict and approvals, then move the pointer.

    Raises:
        RegistryError: Something of the gate does not hold; the pointer is untouched.
        PreconditionFailedError: The pointer moved or is held; it is untouched.
    """
    name = f"{config.domain} {config.version}"
    manifest = read_consistent_manifest(store, config.domain, config.version)
    evaluation = read_verdict(store, manifest, config.evaluation_public_key)
    if evaluation is None:
        raise RegistryError(f"{name} has no evaluation")
    if manifest.bundle_digest != config.bundle_digest:
        raise RegistryError(f"{name}: the release was declared for another bundle")
    if evaluation.gate_digest != config.gate_digest:
        raise RegistryError(f"{name} was judged by another gate configuration")
    if not evaluation.passed:
        raise RegistryError(f"{name} did not pass its gate: {'; '.join(evaluation.failures())}")
    count = tally(
        read_decisions(store, config.domain, config.version),
        bundle_digest=manifest.bundle_digest,
        reviewers=config.reviewers,
    )
    if not count.passed(config.approvals_required):
        raise RegistryError(
            f"{name} has {len(count.approved_by)} of {config.approvals_required} approvals"
            f"{' and a rejection' if count.rejected_by else ''}"
        )
    return pointer.release(
        store,
        config.domain,
        version=config.version,
        bundle_digest=manifest.bundle_digest,
        generation=config.generation,
        by=f"release job, approved by {', '.join(count.approved_by) or 'nobody (none required)'}",
    )


def _main(config: ReleaseConfig, store: ObjectStore, reporter: RunReporter) -> None:
    try:
        moved = release(store, config)
    except NotFoundError:
        # What is not there may come back: a fault, not a verdict.
        raise
    except RegistryError as error:
        reporter.refused(str(error))
        return
    reporter.succeeded({"live": str(moved.live), "generation": moved.generation})


if __name__ == "__main__":
    run_job(ReleaseConfig, _main)
