"""What people and CI do by hand: approve a bundle, go back to an earlier release, lift a hold."""

from stacks.policies.statements import Access, Places, Statement, permissions
from stacks.policies.workloads import MANIFESTS, POINTERS, VERDICTS


def approver_permissions(places: Places) -> tuple[Statement, ...]:
    """Statements of the role behind `pipeline approve`: it adds decisions, of any domain."""
    access = Access(bucket="registry", read=(MANIFESTS, VERDICTS), write=("approvals/*",))
    return permissions(places, [access])


def releaser_permissions(places: Places) -> tuple[Statement, ...]:
    """Statements of the role behind `pipeline rollback` and `pipeline release`, of any domain."""
    access = Access(bucket="registry", read=(POINTERS,), write=(POINTERS,))
    return permissions(places, [access])
