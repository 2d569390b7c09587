"""Read a ledger back, also while it is being written."""

from pathlib import Path
from typing import NamedTuple

from serving.ledger.records import Event, Intent, Record, RecordError, decode
from serving.ledger.segments import scan, segment_paths


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
    data = path.read_bytes()
    found = scan(data)
    if not found.torn_only:
        raise LedgerCorruptError(
            f"{path}: line {len(found.records) + 1} is damaged: "
            f"{_reason(data, found.sound_bytes)}; restore the segment from its shipped copy"
        )
    return found.records


def _reason(data: bytes, start: int) -> str:
    line = data[start:].split(b"\n", 1)[0]
    try:
        decode(line)
    except RecordError as error:
        return str(error)
    return "unreadable"
