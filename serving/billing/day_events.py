"""One day's events, read from what was shipped: sound files, one row per request, and its problem.

Tables that `load_day` leaves in the session:

    events    request_id, admitted, ended, origin, status, attempts, tokens, latency_us, ttft_us,
              problem
    origins   origin, and what many events share: customer, domain, …, server, writer

`problem` is NULL for what can be billed, or the kind of an `Attention`.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from registry.names import parse_served_name
from serving.billing.usage import Attention, AttentionKind
from serving.warehouse import columns
from serving.warehouse.events import create_view, take_first_copies
from serving.warehouse.files import Entry, file_sha256

MAX_TOKENS: Final = 100_000_000
"""More than any request can have: a count beyond it is a fault of the writer."""
CLOCK_TOLERANCE_S: Final = 1


@dataclass(frozen=True)
class SourceFile:
    """A Parquet file of the day."""

    entry: Entry
    path: Path

    def sha256(self) -> str:
        """Digest of its content, `sha256:<hex>`."""
        return file_sha256(self.path)


@dataclass(frozen=True)
class LoadedDay:
    """What `load_day` found besides the events."""

    files: tuple[SourceFile, ...]
    """Those that could be read."""
    attention: tuple[Attention, ...]


_SCHEMA: Final = "SELECT name, duckdb_type FROM parquet_schema(?) WHERE duckdb_type IS NOT NULL"

# Decodes every page.
_SCAN: Final = "SELECT max(COLUMNS(*)) FROM read_parquet(?, hive_partitioning = false)"

_DIFFERING: Final = """
WITH differing AS (
    SELECT request_id, min(writer) AS writer FROM copies GROUP BY request_id HAVING count(*) > 1
)
SELECT writer, count(*), min(request_id) FROM differing GROUP BY writer ORDER BY writer
"""

_ORIGINS: Final = """
CREATE OR REPLACE TEMP TABLE origins AS
WITH seen AS (
    SELECT DISTINCT
        customer, domain, version, served_model, pool, experiment,
        server, wasted_pool, wasted_server, writer
    FROM shipped
)
SELECT row_number() OVER ()::INTEGER AS origin, false AS is_foreign, * FROM seen
"""

_EVENTS: Final = """
CREATE OR REPLACE TEMP TABLE events AS
SELECT
    request_id, admitted, ended, origin, status, attempts,
    input_tokens, cached_tokens, output_tokens,
    wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens,
    latency_us, ttft_us,
    CASE
        WHEN request_id IS NULL OR admitted IS NULL OR ended IS NULL OR status IS NULL
            OR origins.customer IS NULL OR origins.domain IS NULL
            OR origins.served_model IS NULL OR origins.pool IS NULL OR origins.writer IS NULL
            THEN 'incomplete-record'
        WHEN NOT (
            request_id BETWEEN getvariable('first_id')::UUID AND getvariable('last_id')::UUID
            -- An id of ledger schema 1 is random: it names no time near its admission.
            OR (
                abs(epoch_ms(admitted) - (request_id::UHUGEINT >> 80)::BIGINT) > 86400000
                AND admitted::DATE = getvariable('day')
            )
        ) THEN 'clock'
        WHEN is_foreign THEN 'foreign-adapter'
        WHEN least(
                input_tokens, cached_tokens, output_tokens,
                wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens
            ) < 0
            OR greatest(
                input_tokens, cached_tokens, output_tokens,
                wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens
            ) > getvariable('max_tokens')
            OR cached_tokens > input_tokens
            OR wasted_cached_tokens > wasted_input_tokens
            THEN 'invalid-tokens'
    END AS problem
FROM once JOIN origins
    ON once.customer IS NOT DISTINCT FROM origins.customer
    AND once.domain IS NOT DISTINCT FROM origins.domain
    AND once.version IS NOT DISTINCT FROM origins.version
    AND once.served_model IS NOT DISTINCT FROM origins.served_model
    AND once.pool IS NOT DISTINCT FROM origins.pool
    AND once.experiment IS NOT DISTINCT FROM origins.experiment
    AND once.server IS NOT DISTINCT FROM origins.server
    AND once.wasted_pool IS NOT DISTINCT FROM origins.wasted_pool
    AND once.wasted_server IS NOT DISTINCT FROM origins.wasted_server
    AND once.writer IS NOT DISTINCT FROM origins.writer
"""

_PROBLEMS: Final = """
SELECT
    problem,
    CASE WHEN problem = 'foreign-adapter' THEN customer ELSE writer END AS place,
    count(*),
    min(request_id)
FROM events JOIN origins USING (origin)
WHERE problem IS NOT NULL
GROUP BY problem, place
ORDER BY problem, place
"""

_DOUBTFUL_CLOCKS: Final = """
SELECT writer, count(*), min(request_id)
FROM events JOIN origins USING (origin)
WHERE problem IS NULL AND (
    ended < admitted - to_seconds(getvariable('tolerance_s'))
    OR admitted < getvariable('day') - to_seconds(getvariable('tolerance_s'))
    OR admitted >= getvariable('day') + INTERVAL 1 DAY + to_seconds(getvariable('tolerance_s'))
)
GROUP BY writer
ORDER BY writer
"""

_ADVICE: Final[dict[AttentionKind, str]] = {
    "incomplete-record": "fields that every request has are missing: not billed; the shipper is at "
    "fault, ship the segment again",
    "clock": "the id is of another day than the file: not billed here; ship the segment again "
    "under the day of its ids",
    "foreign-adapter": "served by an adapter of another domain: not billed; see the trace, and why "
    "the router allowed it",
    "invalid-tokens": f"a token count is negative, over {MAX_TOKENS:,}, or has more cached than "
    "input tokens: not billed; the writer is at fault, bill it by hand from the trace",
}


def load_day(
    connection: duckdb.DuckDBPyConnection, day: dt.date, files: Sequence[SourceFile]
) -> LoadedDay:
    """Fill the tables `events` and `origins` from the day's files.

    A file that cannot be read is left out and named.
    """
    sound, attention = sound_files(connection, files, columns.EVENTS)
    try:
        _load(connection, day, sound)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        # A footer can be sound and a page not: look for the file, and go on without it.
        sound, damaged = undamaged(connection, sound)
        if not damaged:
            raise
        attention += damaged
        _load(connection, day, sound)
    return LoadedDay(tuple(sound), (*attention, *_problems(connection)))


def sound_files(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[SourceFile],
    wanted: dict[str, str],
) -> tuple[list[SourceFile], list[Attention]]:
    """Tell files whose footer can be read and that have the wanted columns from the others."""
    sound: list[SourceFile] = []
    attention: list[Attention] = []
    for file in files:
        try:
            found = dict(connection.execute(_SCHEMA, [str(file.path)]).fetchall())
        except duckdb.Error as error:
            attention.append(_unreadable(file, str(error)))
            continue
        wrong = [name for name, kind in wanted.items() if found.get(name) != kind]
        if wrong:
            expected = ", ".join(f"{name} {wanted[name]}" for name in wrong)
            attention.append(_unreadable(file, f"it lacks {expected}"))
        else:
            sound.append(file)
    return sound, attention


def undamaged(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile]
) -> tuple[list[SourceFile], list[Attention]]:
    """Tell files of which every page can be read from the others."""
    sound: list[SourceFile] = []
    damaged: list[Attention] = []
    for file in files:
        try:
            connection.execute(_SCAN, [str(file.path)]).fetchall()
            sound.append(file)
        except duckdb.Error as error:
            damaged.append(_unreadable(file, str(error)))
    return sound, damaged


def _load(connection: duckdb.DuckDBPyConnection, day: dt.date, files: Sequence[SourceFile]) -> None:
    create_view(connection, "shipped", [file.path for file in files], columns.EVENTS)
    for name, value in _variables(day).items():
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    take_first_copies(connection)
    connection.execute(_ORIGINS)
    _mark_foreign(connection)
    connection.execute(_EVENTS)


def _variables(day: dt.date) -> dict[str, object]:
    start_ms = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp()) * 1000
    return {
        "day": day,
        "first_id": f"{start_ms:012x}{'0' * 20}",
        "last_id": f"{start_ms + 86_399_999:012x}{'f' * 20}",
        "max_tokens": MAX_TOKENS,
        "tolerance_s": CLOCK_TOLERANCE_S,
    }


def _mark_foreign(connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute("SELECT origin, domain, served_model FROM origins").fetchall()
    for origin, domain, served_model in found:
        parsed = parse_served_name(served_model or "")
        if parsed is not None and parsed[0] != domain:
            connection.execute("UPDATE origins SET is_foreign = true WHERE origin = ?", [origin])


def _problems(connection: duckdb.DuckDBPyConnection) -> list[Attention]:
    found = [
        Attention(kind, place or "unknown", _with_example(_ADVICE[kind], example), requests)
        for kind, place, requests, example in connection.execute(_PROBLEMS).fetchall()
    ]
    found += [
        Attention(
            "clock",
            writer,
            _with_example(
                "ended before they were admitted, or admitted on another day than their id says: "
                "billed on the day of the id; check the writer's clock",
                example,
            ),
            requests,
        )
        for writer, requests, example in connection.execute(_DOUBTFUL_CLOCKS).fetchall()
    ]
    found += [
        Attention(
            "duplicate-id",
            writer or "unknown",
            _with_example("records of one id differ: the first to end is billed", example),
            requests,
        )
        for writer, requests, example in connection.execute(_DIFFERING).fetchall()
    ]
    return found


def _with_example(advice: str, request_id: object) -> str:
    return f"{advice}; such as request {str(request_id).replace('-', '')}"


def _unreadable(file: SourceFile, reason: str) -> Attention:
    # DuckDB names the local file, which differs from machine to machine.
    text = reason.splitlines()[0].replace(str(file.path), file.entry.key)
    return Attention(
        "unreadable-file",
        file.entry.key,
        f"{text}; its requests are not billed: restore the file, or ship its range again",
    )
