"""Whose decision counts is said by where it lies."""

from pathlib import Path

import pytest

from registry import approvals, documents, layout
from registry.errors import RegistryError
from registry.names import Version
from registry.store import ObjectStore, open_store

DOMAIN, VERSION, BUNDLE = "bank-ledger", Version(1, 2), "sha256:b"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}")


def _decide(store: ObjectStore, reviewer: str) -> approvals.Decision:
    return approvals.record(
        store,
        domain=DOMAIN,
        version=VERSION,
        bundle_digest=BUNDLE,
        reviewer=reviewer,
        verdict="approve",
        comment="",
    )


def test_each_reviewer_decides_in_a_place_of_their_own(store: ObjectStore) -> None:
    for reviewer in ("lead-a", "lead-a", "b@bank.example"):
        _decide(store, reviewer)
    folders = {key.rsplit("/", 1)[0] for key in store.list("approvals/")}
    assert folders == {
        "approvals/bank-ledger/v1.2/lead-a",
        "approvals/bank-ledger/v1.2/b=bank.example",
    }
    count = approvals.tally(
        approvals.read_decisions(store, DOMAIN, VERSION), bundle_digest=BUNDLE, reviewers=None
    )
    assert count.approved_by == ("b@bank.example", "lead-a")


def test_nobody_decides_for_another(store: ObjectStore) -> None:
    """What one session could write under its own name, in the name of somebody else."""
    forged = _decide(store, "lead-a").model_copy(update={"reviewer": "lead-b"})
    key = f"{layout.reviewer_prefix(DOMAIN, VERSION, 'lead-a')}0a1b.json"
    store.put(key, documents.encode(forged), if_none_match=True)
    with pytest.raises(RegistryError, match=r"lead-a/0a1b\.json: names lead-b"):
        approvals.read_decisions(store, DOMAIN, VERSION)


def test_what_lies_under_nobodys_name_does_not_count(store: ObjectStore) -> None:
    decision = _decide(store, "lead-a")
    key = f"{layout.approvals_prefix(DOMAIN, VERSION)}0a1b.json"
    store.put(key, documents.encode(decision), if_none_match=True)
    assert approvals.read_decisions(store, DOMAIN, VERSION) == [decision]
