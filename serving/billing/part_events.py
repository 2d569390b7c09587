"""The events of day parts, and what is asked of them: sums, what came late, single requests."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from serving.billing.parts import events_file
from serving.billing.usage import Counts, UsageRow
from serving.warehouse import columns
from serving.warehouse.duck import session
from serving.warehouse.events import create_view
from serving.warehouse.files import Warehouse


@dataclass(frozen=True)
class BilledRequest:
    """A request behind a line; its id is the id of its trace."""

    request_id: str
    admitted: dt.datetime
    domain: str
    served_model: str
    version: str | None
    pool: str
    experiment: str | None
    status: int
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    wasted_input_tokens: int | None
    wasted_cached_tokens: int | None
    wasted_output_tokens: int | None


# As numbers, names are joined, grouped and written several times faster than as text; in Parquet
# they are text.
_LINES: Final = """
CREATE OR REPLACE TYPE customer_label AS ENUM (
    SELECT DISTINCT customer FROM origins WHERE customer IS NOT NULL ORDER BY customer
);
CREATE OR REPLACE TYPE domain_label AS ENUM (
    SELECT DISTINCT domain FROM origins WHERE domain IS NOT NULL ORDER BY domain
);
CREATE OR REPLACE TYPE served_model_label AS ENUM (
    SELECT DISTINCT served_model FROM origins WHERE served_model IS NOT NULL ORDER BY served_model
);
CREATE OR REPLACE TYPE version_label AS ENUM (
    SELECT DISTINCT version FROM origins WHERE version IS NOT NULL ORDER BY version
);
CREATE OR REPLACE TYPE pool_label AS ENUM (
    SELECT DISTINCT pool FROM origins WHERE pool IS NOT NULL ORDER BY pool
);
CREATE OR REPLACE TYPE experiment_label AS ENUM (
    SELECT DISTINCT experiment FROM origins WHERE experiment IS NOT NULL ORDER BY experiment
);
CREATE OR REPLACE TEMP TABLE lines AS
SELECT
    origin,
    customer::customer_label AS customer,
    domain::domain_label AS domain,
    served_model::served_model_label AS served_model,
    version::version_label AS version,
    pool::pool_label AS pool,
    experiment::experiment_label AS experiment
FROM origins
"""

_PART_EVENTS: Final = """
CREATE OR REPLACE TEMP VIEW part_events AS
SELECT
    request_id, admitted, status,
    customer, domain, served_model, version, pool, experiment,
    input_tokens, cached_tokens, output_tokens,
    wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens,
    problem
FROM events JOIN lines USING (origin)
"""

_COLUMNS: Final = {
    **{
        name: columns.EVENTS[name]
        for name in (
            *("request_id", "admitted", "status"),
            *("customer", "domain", "served_model", "version", "pool", "experiment"),
            *("input_tokens", "cached_tokens", "output_tokens"),
            *("wasted_input_tokens", "wasted_cached_tokens", "wasted_output_tokens"),
        )
    },
    "problem": "VARCHAR",
}
"""Of the file."""

# In one order, so that the same events make the same bytes. Only records without an id have equals.
_WRITE: Final = """
COPY (
    FROM part_events
    ORDER BY request_id, CASE WHEN request_id IS NULL THEN part_events::VARCHAR END
) TO $path (FORMAT parquet)
"""

# Of `part_events`; their columns are those of `_PART_EVENTS`.
_USAGE: Final = """
WITH judged AS (
    SELECT
        *,
        status >= 500 AS has_failed,
        NOT has_failed AND (input_tokens IS NULL OR output_tokens IS NULL) AS is_unmeasured,
        NOT has_failed AND NOT is_unmeasured AS counts
    FROM part_events
    WHERE problem IS NULL
)
SELECT
    customer, domain, served_model, version, pool, experiment,
    count(*),
    count(*) FILTER (WHERE has_failed),
    count(*) FILTER (WHERE is_unmeasured),
    coalesce(sum(input_tokens) FILTER (WHERE counts), 0)::BIGINT,
    coalesce(sum(cached_tokens) FILTER (WHERE counts), 0)::BIGINT,
    coalesce(sum(output_tokens) FILTER (WHERE counts), 0)::BIGINT,
    coalesce(sum(wasted_input_tokens) FILTER (WHERE counts), 0)::BIGINT,
    coalesce(sum(wasted_cached_tokens) FILTER (WHERE counts), 0)::BIGINT,
    coalesce(sum(wasted_output_tokens) FILTER (WHERE counts), 0)::BIGINT
FROM judged
GROUP BY customer, domain, served_model, version, pool, experiment
ORDER BY
    customer, domain, served_model, version NULLS FIRST, pool, experiment NULLS FIRST
"""

_BILLED: Final = """
CREATE OR REPLACE TEMP VIEW {name} AS SELECT request_id FROM {events} WHERE problem IS NULL
"""

_LATE: Final = """
CREATE OR REPLACE TEMP VIEW part_events AS
SELECT * FROM newest_events ANTI JOIN billed USING (request_id)
"""

_GONE: Final = """
SELECT count(*)
FROM billed_last
ANTI JOIN (SELECT request_id FROM newest_events WHERE problem IS NULL) USING (request_id)
"""

_REQUESTS: Final = """
SELECT
    request_id, admitted, domain, served_model, version, pool, experiment, status,
    input_tokens, cached_tokens, output_tokens,
    wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens
FROM part_events
WHERE problem IS NULL
    AND customer = $customer
    AND ($domain IS NULL OR domain = $domain)
    AND ($served_model IS NULL OR served_model = $served_model)
ORDER BY request_id
"""


def write_part_events(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """View the events of `day_events.load_day` as `part_events`, and write them to a file."""
    connection.execute(_LINES)
    connection.execute(_PART_EVENTS)
    connection.execute(_WRITE, {"path": str(path)})


def write_no_events(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write a file like that of `write_part_events`, without events."""
    create_view(connection, "part_events", (), _COLUMNS)
    connection.execute(_WRITE, {"path": str(path)})


def usage_rows(connection: duckdb.DuckDBPyConnection, day: dt.date) -> tuple[UsageRow, ...]:
    """Sum `part_events`, in the order of the rows' keys."""
    found = connection.execute(_USAGE).fetchall()
    return tuple(
        UsageRow(day, customer, domain, served_model, version, pool, experiment, Counts(*counts))
        for customer, domain, served_model, version, pool, experiment, *counts in found
    )


def late_usage(
    warehouse: Warehouse, day: dt.date, *, billed: Sequence[str], newest: str
) -> tuple[tuple[UsageRow, ...], int]:
    """Compare a day's newest part with those that were billed, of which there is one at least.

    Args:
        warehouse: Where the parts are.
        day: The UTC day.
        billed: Their digests, the last one last.
        newest: Digest of the newest part.

    Returns:
        Sums of the requests that none of them bills, and how many the last one bills and the
        newest part does not have.

    Raises:
        BillingError: A part or its events are missing or damaged.
    """
    with session(warehouse.scratch) as (connection, _):
        _view(connection, "newest_events", [events_file(warehouse, day, newest)])
        files = [events_file(warehouse, day, digest) for digest in billed]
        for name, some in (("billed", files), ("billed_last", files[-1:])):
            _view(connection, f"{name}_events", some)
            connection.execute(_BILLED.format(name=name, events=f"{name}_events"))
        connection.execute(_LATE)
        [(gone,)] = connection.execute(_GONE).fetchall()
        return usage_rows(connection, day), gone


def requests_of(
    warehouse: Warehouse,
    day: dt.date,
    part_digest: str,
    *,
    customer: str,
    domain: str | None = None,
    served_model: str | None = None,
) -> Iterator[BilledRequest]:
    """Yield the requests that a customer's rows of a part sum, in the order of their admission.

    Raises:
        BillingError: The part or its events are missing or damaged.
    """
    wanted = {"customer": customer, "domain": domain, "served_model": served_model}
    with session(warehouse.scratch) as (connection, _):
        _view(connection, "part_events", [events_file(warehouse, day, part_digest)])
        found = connection.execute(_REQUESTS, wanted)
        while rows := found.fetchmany(10_000):
            for request_id, admitted, *rest in rows:
                yield BilledRequest(request_id.hex, admitted.replace(tzinfo=dt.UTC), *rest)


def _view(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path]) -> None:
    connection.read_parquet([str(file) for file in files]).create_view(name)
