"""Decisions of the named experts on one bundle."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from registry import documents, layout
from registry.documents import Document
from registry.errors import RegistryError
from registry.names import DomainName, Reviewer, Version, VersionField
from registry.store import ObjectStore


class Decision(Document):
    """One expert's decision."""

    schema_version: Literal[1] = 1
    domain: DomainName
    version: VersionField
    bundle_digest: str
    reviewer: Reviewer
    verdict: Literal["approve", "reject"]
    comment: str = ""
    at: datetime


@dataclass(frozen=True)
class Tally:
    """Where the approval of one bundle stands."""

    approved_by: tuple[str, ...]
    rejected_by: tuple[str, ...]
    ignored: tuple[str, ...]
    """Decisions that do not count, each with the reason."""

    def passed(self, required: int) -> bool:
        """Enough distinct approvals and no rejection."""
        return not self.rejected_by and len(self.approved_by) >= required


def tally(
    decisions: Iterable[Decision], *, bundle_digest: str, reviewers: tuple[str, ...] | None
) -> Tally:
    """Count the decisions on a bundle.

    A reviewer counts once. A rejection stands whatever the same reviewer said before or after:
    to release after it, publish a new version.

    Args:
        decisions: Every decision on the version.
        bundle_digest: The bundle that counts; decisions on another one are ignored.
        reviewers: Who may decide; None means anyone (local environments only).
    """
    approved: set[str] = set()
    rejected: set[str] = set()
    ignored: list[str] = []
    for decision in sorted(decisions, key=lambda d: (d.at, d.reviewer)):
        if decision.bundle_digest != bundle_digest:
            ignored.append(
                f"{decision.reviewer}: decided on another bundle ({decision.bundle_digest[:19]}…)"
            )
        elif reviewers is not None and decision.reviewer not in reviewers:
            ignored.append(
                f"{decision.reviewer}: not one of the named reviewers ({', '.join(reviewers)})"
            )
        elif decision.verdict == "reject":
            rejected.add(decision.reviewer)
        else:
            approved.add(decision.reviewer)
    return Tally(tuple(sorted(approved - rejected)), tuple(sorted(rejected)), tuple(ignored))


def record(
    store: ObjectStore,
    *,
    domain: str,
    version: Version,
    bundle_digest: str,
    reviewer: str,
    verdict: Literal["approve", "reject"],
    comment: str,
) -> Decision:
    """Store a decision; nothing is ever overwritten.

    Raises:
        RegistryError: The reviewer's name is not one.
    """
    try:
        decision = Decision(
            domain=domain,
            version=version,
            bundle_digest=bundle_digest,
            reviewer=reviewer,
            verdict=verdict,
            comment=comment,
            at=datetime.now(UTC),
        )
    except ValidationError as error:
        raise RegistryError(
            f"reviewer {reviewer!r}: a name is of lower-case letters, digits and . _ @ -"
        ) from error
    folder = layout.reviewer_prefix(domain, version, decision.reviewer)
    key = f"{folder}{secrets.token_hex(8)}.json"
    store.put(key, documents.encode(decision), if_none_match=True)
    return decision


def read_decisions(store: ObjectStore, domain: str, version: Version) -> list[Decision]:
    """Every decision on a version that lies under a reviewer's name.

    The place says who decided: in AWS a reviewer's role can write to no other. What an earlier
    version of the project recorded lies under nobody's name, and does not count.

    Raises:
        RegistryError: One of them is damaged, or says that another reviewer decided: a count that
            could be wrong is not given.
    """
    prefix = layout.approvals_prefix(domain, version)
    keys = [key for key in store.list(prefix) if "/" in key.removeprefix(prefix)]
    return [_read(store, key, key.removeprefix(prefix).partition("/")[0]) for key in keys]


def _read(store: ObjectStore, key: str, owner: str) -> Decision:
    decision, _ = documents.read(store, key, Decision)
    if layout.reviewer_key(decision.reviewer) != owner:
        raise RegistryError(
            f"{key}: names {decision.reviewer} as the reviewer, and lies under another's name"
        )
    return decision
