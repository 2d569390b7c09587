"""Read a ledger back, also while it is being written."""

from pathlib import Path
from typing import NamedTuple

from serving.ledger.folder import segment_paths
from serving.ledger.lines import damage, sound_records
from serving.ledger.records import Event, Intent, Record


class LedgerCorruptError(Exception):
    """A readable line follows an unreadable one: records are lost, so no sum can be right."""


class LedgerView(NamedTuple):
    """What a ledger says, one record per request id; unpacks as `(events, orphans)`."""

    events: list[Event]
    orphans: list[Intent]
    """Intents without an event: requests in flight, or cut off by a crash."""


def read_events(directory: Path) -> LedgerView:
    """Every request of a ledger, in the order of their ends.

    The first event of a request id counts. An unreadable tail is what a crash or a write in
    progress leaves and is passed over: its request is an orphan.

    Raises:
        LedgerCorruptError: Damage inside a segment; names file and line.
        FileNotFoundError: There is no such directory.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"no ledger directory {directory}")
    intents: dict[str, Intent] = {}
    events: dict[str, Event] = {}
    for path in segment_paths(directory):
        for record in read_segment(path):
            if isinstance(record, Event):
                events.setdefault(record.request_id, record)
            else:
                intents.setdefault(record.request_id, record)
    orphans = [intent for key, intent in intents.items() if key not in events]
    return LedgerView(list(events.values()), orphans)


def read_segment(path: Path) -> list[Record]:
    """Records of one segment, in file order.

    Raises:
        LedgerCorruptError: See `read_events`.
    """
    size = path.stat().st_size
    records: list[Record] = []
    sound = 0
    with path.open("rb") as stream:
        for end, record in sound_records(stream, 0, size):
            records.append(record)
            sound = end
        reason = damage(stream, sound, size)
    if reason is not None:
        raise LedgerCorruptError(damaged_line(path, len(records) + 1, reason))
    return records


def damaged_line(path: Path, line: int, reason: str) -> str:
    """What is said of damage: where, why, and what to do."""
    return (
        f"{path}: line {line} is damaged: {reason}; restore the segment from a backup of the "
        "volume, or move the line out of it into a file of its own: what it said is then lost, "
        "and its request, if only its end is, becomes an orphan"
    )
