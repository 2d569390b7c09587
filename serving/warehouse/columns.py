"""Columns of the warehouse's Parquet files, as DuckDB types. No I/O.

Times are UTC. Token counts are NULL where the model server never reported them.
"""

from typing import Final

EVENTS: Final[dict[str, str]] = {
    "request_id": "UUID",
    "admitted": "TIMESTAMP",
    "ended": "TIMESTAMP",
    "customer": "VARCHAR",
    "domain": "VARCHAR",
    "version": "VARCHAR",
    "served_model": "VARCHAR",
    "pool": "VARCHAR",
    "server": "VARCHAR",
    "experiment": "VARCHAR",
    "stream": "BOOLEAN",
    "status": "SMALLINT",
    "error": "VARCHAR",
    "attempts": "SMALLINT",
    "input_tokens": "BIGINT",
    "cached_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "wasted_pool": "VARCHAR",
    "wasted_server": "VARCHAR",
    "wasted_input_tokens": "BIGINT",
    "wasted_cached_tokens": "BIGINT",
    "wasted_output_tokens": "BIGINT",
    "latency_us": "BIGINT",
    "ttft_us": "BIGINT",
    "writer": "VARCHAR",
}
"""One row for each request that ended; fields as `serving.ledger.records.Event` describes them."""

ORPHANS: Final[dict[str, str]] = {
    "request_id": "UUID",
    "admitted": "TIMESTAMP",
    "customer": "VARCHAR",
    "domain": "VARCHAR",
    "version": "VARCHAR",
    "served_model": "VARCHAR",
    "pool": "VARCHAR",
    "experiment": "VARCHAR",
    "stream": "BOOLEAN",
    "writer": "VARCHAR",
}
"""One row for each admitted request whose router ended before its answer did."""
