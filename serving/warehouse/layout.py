"""Keys of the warehouse's objects. No I/O.

    shipped/<writer>/<ledger id>/<segment>.json      how far a segment is shipped
    writers/<writer>.json                            who writes, from which volume, until when
    events/day=<day>/<range>.parquet                 columns: serving.warehouse.columns.EVENTS
    orphans/day=<day>/<range>.parquet                columns: serving.warehouse.columns.ORPHANS
    pods/day=<day>/<source>.json                     pod intervals of a day
    runs/<month>/<domain>/<run>.json                 GPU time of training and evaluation jobs
    counters/day=<day>/<source>-<time>.json          samples of vLLM, gateway and router counters
    parts/day=<day>/part.json                        which part of the day is the newest
    parts/day=<day>/<sha256>.json                    a day, de-duplicated and summed; create-only
    parts/day=<day>/<sha256>.parquet                 the events of that part; create-only
    closed/<month>.json                              a closed month
    credits/<month>/<id>.json                        credit notes, by the month that they appear in

Days and months are of UTC, written as ISO 8601.
"""

import datetime as dt


def day_folder(kind: str, day: dt.date) -> str:
    """Folder of one day's objects of a kind, with its final slash."""
    return f"{kind}/day={day.isoformat()}/"


def range_name(writer: str, ledger_id: str, segment: int, begin: int, end: int) -> str:
    """Name of the Parquet file that holds bytes `[begin, end)` of a segment."""
    return f"{writer}-{ledger_id}-{segment:010d}-{begin:012d}-{end:012d}.parquet"


def shipped_folder(writer: str, ledger_id: str) -> str:
    """Folder of the progress of a ledger's segments, with its final slash."""
    return f"shipped/{writer}/{ledger_id}/"


def shipped_key(writer: str, ledger_id: str, segment: int) -> str:
    """Key of a segment's progress."""
    return f"{shipped_folder(writer, ledger_id)}{segment:010d}.json"


def writer_key(writer: str) -> str:
    """Key of what is known of a writer."""
    return f"writers/{writer}.json"


def newest_part_key(day: dt.date) -> str:
    """Key of what names a day's newest part."""
    return f"{day_folder('parts', day)}part.json"


def part_key(day: dt.date, digest: str) -> str:
    """Key of a part, given its digest `sha256:<hex>`."""
    return f"{day_folder('parts', day)}{digest.removeprefix('sha256:')}.json"


def part_events_key(day: dt.date, digest: str) -> str:
    """Key of the events that a part sums."""
    return f"{day_folder('parts', day)}{digest.removeprefix('sha256:')}.parquet"


def closed_key(month: str) -> str:
    """Key of a closed month."""
    return f"closed/{month}.json"
