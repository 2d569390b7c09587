"""What the documents say of the node is what the tests say."""

from stacks.paths import ROOT
from tests.cluster.differences import table


def test_the_documents_list_every_difference() -> None:
    assert table() in (ROOT / "docs/proofs.md").read_text()
