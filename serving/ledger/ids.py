"""Request ids: 48 bits of milliseconds since the epoch, then 80 random bits. No I/O.

The time comes first, so an id belongs to one UTC day and ids of one day lie together. 32 lower-case
hex digits: a valid trace id.
"""

import datetime as dt
import re
import secrets
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{32}")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIME_BITS: Final = 48
_RANDOM_BITS: Final = 80


def new_request_id(now_ms: int) -> str:
    """Make an id.

    Args:
        now_ms: Time of admission, milliseconds since the epoch.

    Raises:
        ValueError: The time does not fit 48 bits.
    """
    if not 0 <= now_ms < 1 << _TIME_BITS:
        raise ValueError(f"{now_ms} ms since the epoch: 48 bits hold 0 to {(1 << _TIME_BITS) - 1}")
    return f"{now_ms << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS):032x}"


def admitted_at(request_id: str) -> dt.datetime:
    """Return the time of admission that an id carries, in UTC, to the millisecond.

    Raises:
        ValueError: It is no such id, or its time is after the year 9999.
    """
    if not _ID.fullmatch(request_id):
        raise ValueError(f"request id {request_id!r} is not 32 lower-case hex digits")
    try:
        return _EPOCH + dt.timedelta(milliseconds=int(request_id[:12], 16))
    except OverflowError as error:
        raise ValueError(f"request id {request_id!r} is of a time after the year 9999") from error
