"""What people and CI do by hand: approve a bundle, go back to an earlier release, lift a hold."""

from registry import layout
from stacks.policies.statements import Access, Places, Statement, permissions
from stacks.policies.workloads import MANIFESTS, POINTERS, VERDICTS


def approver_permissions(places: Places, reviewer: str) -> tuple[Statement, ...]:
    """Statements of the role behind one reviewer's `pipeline approve`, of any domain.

    It adds decisions under this reviewer's name alone: who decides twice is counted once.
    """
    own = f"approvals/*/*/{layout.reviewer_key(reviewer)}/*"
    access = Access(bucket="registry", read=(MANIFESTS, VERDICTS), write=(own,))
    return permissions(places, [access])


def releaser_permissions(places: Places) -> tuple[Statement, ...]:
    """Statements of the role behind `pipeline rollback` and `pipeline release`, of any domain."""
    access = Access(bucket="registry", read=(POINTERS,), write=(POINTERS,))
    return permissions(places, [access])
