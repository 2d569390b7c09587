"""Files that shippers wrote and that the warehouse has no more."""

from dataclasses import dataclass

from registry.store import ObjectStore
from serving.warehouse.layout import EVENTS, ORPHANS
from serving.warehouse.progress import SegmentProgress
from serving.warehouse.reading import read_progress


@dataclass(frozen=True)
class MissingFile:
    """A file of rows that is gone."""

    key: str
    progress: SegmentProgress
    """What names it."""


def missing_files(store: ObjectStore) -> list[MissingFile]:
    """Return the files that progress names and that are not there, by segment.

    Names are compared: no file is opened.

    Raises:
        RegistryError: Progress cannot be read; names it.
    """
    # In this order: a file is there before progress names it.
    shipped = [progress for progress, _ in read_progress(store)]
    there = {key for folder in (EVENTS, ORPHANS) for key in store.list(folder)}
    return [
        MissingFile(key, progress)
        for progress in shipped
        for key in progress.file_keys()
        if key not in there
    ]
