"""Records of the ledger and the line that each becomes. No I/O."""

import json
import zlib
from dataclasses import dataclass, fields
from typing import Any, Final

SCHEMA: Final = 2

_CRC_TAIL: Final = len(',"crc":"00000000"}')


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A request was admitted: what it will be served by, before anything was sent."""

    request_id: str
    ts: str
    """Admission, RFC 3339 in UTC with microseconds."""
    domain: str
    customer: str
    version: str | None
    """Release that the request is pinned to, such as `v1.2`; None where a domain has none."""
    served_model: str
    pool: str
    stream: bool
    experiment: str | None = None
    """Arm of the experiment that the request took part in; None outside of one."""
    schema: int = SCHEMA
    """Of the line it was read from. Ids of schema 1 are random and carry no time."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A response ended. Token counts are None where the model server never reported them."""

    request_id: str
    ts: str
    """End of the response, RFC 3339 in UTC with microseconds."""
    domain: str
    customer: str
    version: str | None
    served_model: str
    pool: str
    stream: bool
    status: int
    """HTTP status; 499 when the client went away first."""
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    """Input tokens taken from the prefix cache; part of `input_tokens`."""
    latency_ms: float
    """Admission to end of the response."""
    ttft_ms: float | None
    """Admission to the first byte of the answer."""
    error: str | None
    experiment: str | None = None
    server: str | None = None
    """Pod of the model server that the request went to, answered or not; None where several could
    have it."""
    attempts: int = 1
    """How often the request was sent to a model server."""
    wasted_pool: str | None = None
    """Pool of an answer that was thrown away for this one; None when there was none."""
    wasted_server: str | None = None
    wasted_input_tokens: int | None = 0
    """Tokens of the answer thrown away; in none of the counts above."""
    wasted_cached_tokens: int | None = 0
    wasted_output_tokens: int | None = 0
    schema: int = SCHEMA


Record = Intent | Event

_KINDS: Final[dict[str, type[Intent] | type[Event]]] = {"intent": Intent, "event": Event}
_SCHEMA_2_ONLY: Final = frozenset(
    {
        "experiment",
        "server",
        "attempts",
        "wasted_pool",
        "wasted_server",
        "wasted_input_tokens",
        "wasted_cached_tokens",
        "wasted_output_tokens",
    }
)
_FIELDS: Final = {
    (schema, kind): {f.name for f in fields(cls)} - {"schema"} - left_out
    for kind, cls in _KINDS.items()
    for schema, left_out in ((1, _SCHEMA_2_ONLY), (SCHEMA, frozenset[str]()))
}


class RecordError(ValueError):
    """A line that is not a record of this version."""


class DamagedRecordError(RecordError):
    """A line that was not written whole, or changed since."""


def encode(record: Record) -> bytes:
    """One line with its newline: `{"schema":2,"kind":…,…,"crc":"<crc32 of what precedes>"}`.

    Raises:
        ValueError: The record was read from an earlier schema: those are only read.
    """
    if record.schema != SCHEMA:
        raise ValueError(f"request {record.request_id}: schema {record.schema} is only read")
    kind = "intent" if isinstance(record, Intent) else "event"
    body = json.dumps(
        {"schema": SCHEMA, "kind": kind, **vars(record)},
        separators=(",", ":"),
        ensure_ascii=False,
    )[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def decode(line: bytes) -> Record:
    """Read one line of schema 1 or 2, given without its newline; what 1 lacks has its default.

    Raises:
        DamagedRecordError: The checksum does not match.
        RecordError: Whole, but of a schema or kind that this version does not know.
    """
    body = line[:-_CRC_TAIL]
    if line[-_CRC_TAIL:] != b',"crc":"%08x"}' % zlib.crc32(body):
        raise DamagedRecordError("the checksum does not match")
    try:
        values = json.loads(body + b"}")
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    return _build(values)


def _build(values: dict[str, Any]) -> Record:
    schema = values.pop("schema", None)
    if schema not in (1, SCHEMA):
        raise RecordError(f"schema {schema!r} is not known here (this version reads 1 to {SCHEMA})")
    kind = values.pop("kind", None)
    cls = _KINDS.get(str(kind))
    if cls is None:
        raise RecordError(f"kind {kind!r} is neither intent nor event")
    if values.keys() != _FIELDS[schema, str(kind)]:
        raise RecordError(f"fields of an {kind} are not {sorted(values)}")
    return cls(**values, schema=schema)
