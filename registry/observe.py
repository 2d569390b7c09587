"""Read what the release state machine looks at."""

from pathlib import Path

from registry.approvals import read_decisions, tally
from registry.errors import NotFoundError
from registry.manifest import Manifest
from registry.pointer import read_pointer
from registry.release import Desired, Observed, run_ids
from registry.runs import read_result, read_status
from registry.store import ObjectStore
from registry.verified import read_consistent_manifest, read_verdict


def observe(
    store: ObjectStore,
    desired: Desired,
    *,
    evaluation_public_key: Path | bytes,
    reviewers: tuple[str, ...] | None,
) -> Observed:
    """Read pointer, manifest, verified verdict, approvals and runs of the wanted version.

    Args:
        store: The registry.
        desired: What the stack wants.
        evaluation_public_key: What verdicts are verified with: a PEM file, or what is in one.
        reviewers: Who may approve; None means anyone (local environments only).

    Raises:
        RegistryError: A document is damaged, its digests do not add up, or a verdict's signature
            does not verify.
    """
    manifest = _manifest(store, desired)
    decisions = read_decisions(store, desired.domain, desired.version)
    bundle = manifest.bundle_digest if manifest else ""
    pointer = read_pointer(store, desired.domain)
    runs = run_ids(desired, manifest, pointer)
    statuses = {run: read_status(store, desired.domain, run) for run in runs}
    results = {run: read_result(store, desired.domain, run) for run in runs}
    return Observed(
        pointer=pointer,
        manifest=manifest,
        evaluation=read_verdict(store, manifest, evaluation_public_key) if manifest else None,
        approvals=tally(decisions, bundle_digest=bundle, reviewers=reviewers),
        statuses={run: status for run, status in statuses.items() if status is not None},
        results={run: result for run, result in results.items() if result is not None},
    )


def _manifest(store: ObjectStore, desired: Desired) -> Manifest | None:
    try:
        return read_consistent_manifest(store, desired.domain, desired.version)
    except NotFoundError:
        return None
