"""Records of the ledger and the line that each becomes. No I/O."""

import json
import zlib
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

SCHEMA: Final = 1

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
    """Release that the request is pinned to, such as `v1.2`."""
    served_model: str
    pool: str
    stream: bool


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


Record = Intent | Event

_KINDS: Final[dict[str, type[Intent] | type[Event]]] = {"intent": Intent, "event": Event}
_FIELDS: Final = {kind: {f.name for f in fields(cls)} for kind, cls in _KINDS.items()}


class RecordError(ValueError):
    """A line that is not a record of this version."""


class DamagedRecordError(RecordError):
    """A line that was not written whole, or changed since."""


def encode(record: Record) -> bytes:
    """One line with its newline: `{"schema":1,"kind":…,…,"crc":"<crc32 of what precedes>"}`."""
    kind = "intent" if isinstance(record, Intent) else "event"
    body = json.dumps(
        {"schema": SCHEMA, "kind": kind, **asdict(record)},
        separators=(",", ":"),
        ensure_ascii=False,
    )[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def decode(line: bytes) -> Record:
    """Read one line, given without its newline.

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
    if schema != SCHEMA:
        raise RecordError(f"schema {schema!r} is not known here (this version reads {SCHEMA})")
    kind = values.pop("kind", None)
    cls = _KINDS.get(str(kind))
    if cls is None:
        raise RecordError(f"kind {kind!r} is neither intent nor event")
    if values.keys() != _FIELDS[str(kind)]:
        raise RecordError(f"fields of an {kind} are not {sorted(values)}")
    return cls(**values)
