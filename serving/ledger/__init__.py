"""The ledger of served requests: the one source of the bill.

An *intent* is written when a request is admitted and an *event* when its response ends, both with
the request id as their key. Records are lines of JSON in append-only segments; every line carries
a checksum. An intent without an event is an orphan: a request that a crash cut off.
"""

from serving.ledger.folder import LedgerError
from serving.ledger.reader import LedgerCorruptError, LedgerView, read_events
from serving.ledger.records import Event, Intent
from serving.ledger.writer import LedgerWriter

__all__ = [
    "Event",
    "Intent",
    "LedgerCorruptError",
    "LedgerError",
    "LedgerView",
    "LedgerWriter",
    "read_events",
]
