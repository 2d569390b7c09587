"""From a record of the ledger to a row of the warehouse. No I/O."""

import datetime as dt
import uuid
from typing import Final

from serving.ledger.ids import admitted_at
from serving.ledger.records import Event, Intent
from serving.warehouse.progress import OpenRequest

Row = dict[str, str | int | bool | None]
"""JSON values, in the order of `serving.warehouse.columns`."""

_BIGINT: Final = 2**63 - 1


class RowError(ValueError):
    """A record that is no row: its request id or its time is none."""


def event_row(event: Event, writer: str) -> tuple[dt.date, Row]:
    """Day of admission and row of an event. Raises RowError."""
    admitted = _admission(event)
    row: Row = {
        "request_id": event.request_id,
        "admitted": _timestamp(admitted),
        "ended": _timestamp(_record_time(event)),
        "customer": event.customer,
        "domain": event.domain,
        "version": event.version,
        "served_model": event.served_model,
        "pool": event.pool,
        "server": event.server,
        "experiment": event.experiment,
        "stream": event.stream,
        "status": event.status,
        "error": event.error,
        "attempts": event.attempts,
        "input_tokens": _count(event.input_tokens),
        "cached_tokens": _count(event.cached_tokens),
        "output_tokens": _count(event.output_tokens),
        "wasted_pool": event.wasted_pool,
        "wasted_server": event.wasted_server,
        "wasted_input_tokens": _count(event.wasted_input_tokens),
        "wasted_cached_tokens": _count(event.wasted_cached_tokens),
        "wasted_output_tokens": _count(event.wasted_output_tokens),
        "latency_us": round(event.latency_ms * 1e3),
        "ttft_us": None if event.ttft_ms is None else round(event.ttft_ms * 1e3),
        "writer": writer,
    }
    return admitted.date(), row


def open_request(intent: Intent) -> OpenRequest:
    """What is remembered of an intent until its event comes. Raises RowError."""
    return OpenRequest(
        request_id=intent.request_id,
        admitted=_admission(intent),
        customer=intent.customer,
        domain=intent.domain,
        version=intent.version,
        served_model=intent.served_model,
        pool=intent.pool,
        experiment=intent.experiment,
        stream=intent.stream,
    )


def orphan_row(request: OpenRequest, writer: str) -> tuple[dt.date, Row]:
    """Day of admission and row of a request that never ended."""
    row: Row = {
        "request_id": request.request_id,
        "admitted": _timestamp(request.admitted),
        "customer": request.customer,
        "domain": request.domain,
        "version": request.version,
        "served_model": request.served_model,
        "pool": request.pool,
        "experiment": request.experiment,
        "stream": request.stream,
        "writer": writer,
    }
    return request.admitted.date(), row


def _record_time(record: Event | Intent) -> dt.datetime:
    """The time that a record says, in UTC. Raises RowError."""
    try:
        moment = dt.datetime.fromisoformat(record.ts)
        in_utc = moment.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise RowError(f"request {record.request_id}: ts {record.ts!r}: {error}") from error
    if moment.tzinfo is None:
        raise RowError(f"request {record.request_id}: ts {record.ts!r} has no offset from UTC")
    return in_utc


def _admission(record: Event | Intent) -> dt.datetime:
    """When a request was admitted: its id says so; before schema 2, the record's own time does."""
    try:
        if record.schema >= 2:
            return admitted_at(record.request_id)
        uuid.UUID(record.request_id)
    except ValueError as error:
        raise RowError(f"request {record.request_id!r}: {error}") from error
    if isinstance(record, Intent):
        return _record_time(record)
    return _record_time(record) - dt.timedelta(milliseconds=record.latency_ms)


def _timestamp(moment: dt.datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _count(tokens: int | None) -> int | None:
    """A count that no column can hold becomes the largest or smallest one: absurd it stays."""
    return None if tokens is None else max(-_BIGINT, min(tokens, _BIGINT))
