"""The events of day parts, and what is asked of them: sums, what came late, single requests."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from serving.billing.errors import BillingError
from serving.billing.usage import Counts, UsageRow
from serving.warehouse import columns
from serving.warehouse.duck import session
from serving.warehouse.events import create_view
from serving.warehouse.files import Warehouse
from serving.warehouse.layout import part_events_key


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

_WRITE: Final = "COPY part_events TO $path (FORMAT parquet)"

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

_LATE: Final = """
CREATE OR REPLACE TEMP VIEW part_events AS
SELECT * FROM newest_events
ANTI JOIN (SELECT request_id FROM frozen_events WHERE problem IS NULL) USING (request_id)
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


def usage_between(
    warehouse: Warehouse, day: dt.date, *, frozen_digest: str, newest_digest: str
) -> tuple[UsageRow, ...]:
    """Sum what the newest part bills and the frozen one did not.

    Raises:
        BillingError: The events of a part are missing.
    """
    with session(warehouse.scratch) as (connection, _):
        _view(connection, warehouse, "newest_events", part_events_key(day, newest_digest))
        _view(connection, warehouse, "frozen_events", part_events_key(day, frozen_digest))
        connection.execute(_LATE)
        return usage_rows(connection, day)


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
        BillingError: The events of the part are missing.
    """
    wanted = {"customer": customer, "domain": domain, "served_model": served_model}
    with session(warehouse.scratch) as (connection, _):
        _view(connection, warehouse, "part_events", part_events_key(day, part_digest))
        found = connection.execute(_REQUESTS, wanted)
        while rows := found.fetchmany(10_000):
            for request_id, admitted, *rest in rows:
                yield BilledRequest(request_id.hex, admitted.replace(tzinfo=dt.UTC), *rest)


def _view(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, name: str, key: str) -> None:
    entries = warehouse.entries(key)
    if not entries:
        raise BillingError(f"{key}: the events of this part are gone; restore them")
    [path] = warehouse.files(entries)
    connection.read_parquet(str(path)).create_view(name)
