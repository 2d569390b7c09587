"""Documents that shippers and billing jobs leave in the warehouse.

Whoever reads one may be older or newer than whoever wrote it. So a key that the reader does not
know is passed over, and one that it needs and does not find is an error: a change of what a key
means takes another name.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from registry import documents
from registry.documents import AnyDocument
from registry.store import ObjectStore
from serving.warehouse.layout import SHIPPED, WRITERS
from serving.warehouse.progress import SegmentProgress
from serving.warehouse.writers import WriterState

_AT_ONCE: Final = 16


def read(store: ObjectStore, key: str, model: type[AnyDocument]) -> tuple[AnyDocument, str]:
    """Read a document and its etag.

    Raises:
        NotFoundError: There is none.
        RegistryError: It lacks something; the message names key and field.
    """
    stored = store.get(key)
    return documents.decode(stored.data, model, key, extra="ignore"), stored.etag


def read_writers(store: ObjectStore) -> tuple[WriterState, ...]:
    """What is known of each writer, in the order of their names. Raises as `read`."""
    return tuple(read(store, key, WriterState)[0] for key in store.list(WRITERS))


def read_progress(store: ObjectStore, folder: str = SHIPPED) -> list[tuple[SegmentProgress, str]]:
    """Progress of all segments below a folder, and its etags. Raises as `read`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda key: read(store, key, SegmentProgress), store.list(folder)))
