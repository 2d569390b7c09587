"""Keys of the warehouse's objects. No I/O.

    shipped/<writer>/<ledger id>/<segment>.json      how far a segment is shipped
    writers/<writer>.json                            who writes, from which volume, until when
    events/day=<day>/<range>.parquet                 columns: serving.warehouse.columns.EVENTS
    orphans/day=<day>/<range>.parquet                columns: serving.warehouse.columns.ORPHANS
    pods/day=<day>/<source>.json                     pod intervals of a day
    runs/<month>/<domain>/<run>.json                 GPU time of training and evaluation jobs
    counters/day=<day>/<source>-<time>.json          samples of vLLM, gateway and router counters
    parts/day=<day>/part.json                        which part of the day is the newest
    parts/day=<day>/<sha256>.json                    a day, de-duplicated and summed; named by its
                                                     digest, so that a damaged one is made again
    parts/day=<day>/<sha256>.parquet                 the events of that part
    parts/day=<day>/<sha256>.of-<sha256>             empty: the part holds the day's files as they
                                                     were listed, which the second digest names
    closed/<month>.json                              a closed month; create-only
    closed-heads/<month>.json                        that it was closed, and its digest; create-only
    notes/<month>/<id>.json                          credit and debit notes, by the month that they
                                                     correct; create-only

Days and months are of UTC, written as ISO 8601.
"""

import datetime as dt
import re
from typing import Final

SHIPPED: Final = "shipped/"
WRITERS: Final = "writers/"
EVENTS: Final = "events/"
ORPHANS: Final = "orphans/"
PODS: Final = "pods/"
RUNS: Final = "runs/"
COUNTERS: Final = "counters/"
PARTS: Final = "parts/"
CLOSED: Final = "closed/"
CLOSED_HEADS: Final = "closed-heads/"
NOTES: Final = "notes/"

_NEWEST_PART: Final = re.compile(rf"{PARTS}day=([0-9-]{{10}})/part\.json")
_SAMPLE: Final = re.compile(rf"{COUNTERS}day=[0-9-]{{10}}/(.+)-(\d{{8}}T\d{{12}}Z)\.json")
_SAMPLE_TIME: Final = "%Y%m%dT%H%M%S%fZ"


def day_folder(prefix: str, day: dt.date) -> str:
    """Folder of one day's objects below a prefix, with its final slash."""
    return f"{prefix}day={day.isoformat()}/"


def span(begin: int, end: int, crc: int) -> str:
    """Bytes `[begin, end)` of a segment, and the CRC-32 of the rows that a file holds of them."""
    return f"{begin:012d}-{end:012d}-{crc:08x}"


def range_name(writer: str, ledger_id: str, segment: int, span: str) -> str:
    """Name of the Parquet file that holds a span of a segment."""
    return f"{writer}-{ledger_id}-{segment:010d}-{span}.parquet"


def shipped_folder(writer: str, ledger_id: str) -> str:
    """Folder of the progress of a ledger's segments, with its final slash."""
    return f"{SHIPPED}{writer}/{ledger_id}/"


def shipped_key(writer: str, ledger_id: str, segment: int) -> str:
    """Key of a segment's progress."""
    return f"{shipped_folder(writer, ledger_id)}{segment:010d}.json"


def writer_key(writer: str) -> str:
    """Key of what is known of a writer."""
    return f"{WRITERS}{writer}.json"


def run_key(month: str, domain: str, run_id: str) -> str:
    """Key of a job's GPU time."""
    return f"{RUNS}{month}/{domain}/{run_id}.json"


def sample_key(source: str, at: dt.datetime) -> str:
    """Key of a sample of a source's counters."""
    moment = at.astimezone(dt.UTC)
    return f"{day_folder(COUNTERS, moment.date())}{source}-{moment.strftime(_SAMPLE_TIME)}.json"


def source_and_time(key: str) -> tuple[str, dt.datetime] | None:
    """What `sample_key` was given; None for another key."""
    name = _SAMPLE.fullmatch(key)
    if name is None:
        return None
    return name[1], dt.datetime.strptime(name[2], _SAMPLE_TIME).replace(tzinfo=dt.UTC)


def newest_part_key(day: dt.date) -> str:
    """Key of what names a day's newest part."""
    return f"{day_folder(PARTS, day)}part.json"


def day_of_newest_part(key: str) -> dt.date | None:
    """What `newest_part_key` was given; None for another key."""
    name = _NEWEST_PART.fullmatch(key)
    return None if name is None else dt.date.fromisoformat(name[1])


def part_key(day: dt.date, digest: str) -> str:
    """Key of a part, given its digest `sha256:<hex>`."""
    return f"{day_folder(PARTS, day)}{digest.removeprefix('sha256:')}.json"


def part_events_key(day: dt.date, digest: str) -> str:
    """Key of the events that a part sums."""
    return f"{day_folder(PARTS, day)}{digest.removeprefix('sha256:')}.parquet"


def part_of_key(day: dt.date, digest: str, files: str) -> str:
    """Key of what says that a part holds the day's files in the state of a digest."""
    part, state = (each.removeprefix("sha256:") for each in (digest, files))
    return f"{day_folder(PARTS, day)}{part}.of-{state}"


def closed_key(month: str) -> str:
    """Key of a closed month."""
    return f"{CLOSED}{month}.json"


def closed_month(key: str) -> str:
    """What `closed_key` was given."""
    return key.removeprefix(CLOSED).removesuffix(".json")


def closed_head_key(month: str) -> str:
    """Key of the digest of a closed month, kept apart from it."""
    return f"{CLOSED_HEADS}{month}.json"


def closed_head_month(key: str) -> str:
    """What `closed_head_key` was given."""
    return key.removeprefix(CLOSED_HEADS).removesuffix(".json")


def notes_folder(month: str) -> str:
    """Folder of the notes that correct a month, with its final slash."""
    return f"{NOTES}{month}/"


def note_key(month: str, note_id: str) -> str:
    """Key of a note that corrects a month."""
    return f"{notes_folder(month)}{note_id}.json"


def note_month(key: str) -> str:
    """The month that a note corrects."""
    return key.removeprefix(NOTES).partition("/")[0]
