"""What jobs note of the requests that they send."""

from pathlib import Path

import pytest

from registry import layout
from registry.errors import RegistryError
from registry.store import ObjectStore, open_store
from registry.traffic import Asked, read_traffic, recorded

KEY = layout.run_traffic("bank-ledger", "evaluate-1", 1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}")


def test_while_it_runs_all_that_it_may_send_is_noted(store: ObjectStore) -> None:
    asked = Asked()
    with recorded(store, KEY, "evaluate-1", planned=20, asked=lambda: asked):
        (running,) = read_traffic(store)
        asked = Asked(answered=18, prompt_tokens=900, generation_tokens=70, unanswered=0)
    assert (running.ended, running.answered, running.unanswered) == (None, 0, 20)
    (done,) = read_traffic(store)
    assert done.ended is not None
    assert running.began <= done.began <= done.ended
    assert (done.answered, done.prompt_tokens, done.generation_tokens) == (18, 900, 70)
    assert done.unanswered == 0


def test_a_job_that_fails_notes_how_far_it_came(store: ObjectStore) -> None:
    with (
        pytest.raises(ConnectionError),
        recorded(store, KEY, "evaluate-1", planned=20, asked=lambda: Asked(3, 30, 6, 2)),
    ):
        raise ConnectionError
    (done,) = read_traffic(store)
    assert (done.answered, done.unanswered) == (3, 2)
    assert done.ended is not None


def test_only_traffic_is_read_and_a_damaged_note_is_named(store: ObjectStore) -> None:
    store.put(layout.run_status("bank-ledger", "evaluate-1"), b"not a note")
    assert read_traffic(store) == []
    store.put(KEY, b"{}")
    with pytest.raises(RegistryError, match=KEY):
        read_traffic(store)
