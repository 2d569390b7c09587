"""What jobs ask of model servers that answer customers as well.

Such a server counts all requests together. A job therefore notes its own, so that its counters can
be compared with what customers asked.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from registry import documents
from registry.documents import Document
from registry.store import ObjectStore

_FOLDER: Final = "runs/"
_NAME: Final = "/traffic-"


@dataclass(frozen=True)
class Asked:
    """Requests of a job so far."""

    answered: int = 0
    """With these tokens, as the server reported them."""
    prompt_tokens: int = 0
    generation_tokens: int = 0
    unanswered: int = 0
    """Sent, and no answer came."""


class Traffic(Document):
    """The requests of one start of a job."""

    schema_version: Literal[1] = 1
    run_id: str
    began: datetime
    ended: datetime | None = None
    """None while it runs, and for ever when it was killed."""
    answered: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    unanswered: int
    """Sent, and no answer came; while it runs, all that it may send."""


@contextlib.contextmanager
def recorded(
    store: ObjectStore, key: str, run_id: str, *, planned: int, asked: Callable[[], Asked]
) -> Iterator[None]:
    """Note what is asked within a `with` block, also when it fails.

    Args:
        store: The registry.
        key: Where to write it; see `registry.layout.run_traffic`.
        run_id: The run.
        planned: The most requests that the block may send.
        asked: Gives what was asked, when the block has ended.
    """
    began = datetime.now(UTC)
    running = Traffic(run_id=run_id, began=began, unanswered=planned)
    store.put(key, documents.encode(running))
    try:
        yield
    finally:
        done = Traffic(run_id=run_id, began=began, ended=datetime.now(UTC), **vars(asked()))
        store.put(key, documents.encode(done))


def read_traffic(store: ObjectStore) -> list[Traffic]:
    """The traffic of every run in the registry.

    Raises:
        RegistryError: A document is damaged; names its key.
    """
    keys = [key for key in store.list(_FOLDER) if _NAME in key]
    return [documents.read(store, key, Traffic)[0] for key in keys]
