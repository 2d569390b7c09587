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

USAGE: Final[dict[str, str]] = {
    "day": "DATE",
    "customer": "VARCHAR",
    "domain": "VARCHAR",
    "served_model": "VARCHAR",
    "version": "VARCHAR",
    "pool": "VARCHAR",
    "experiment": "VARCHAR",
    "requests": "BIGINT",
    "failed": "BIGINT",
    "unmeasured": "BIGINT",
    "input_tokens": "BIGINT",
    "cached_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "wasted_input_tokens": "BIGINT",
    "wasted_cached_tokens": "BIGINT",
    "wasted_output_tokens": "BIGINT",
}
"""Sums of one day; only billable rows. Failed (status >= 500) and unmeasured requests are counted,
their tokens are not. Wasted tokens were spent in pool `slm` on answers that were thrown away for an
answer of the row's pool."""

GPU: Final[dict[str, str]] = {
    "day": "DATE",
    "pod": "VARCHAR",
    "pool": "VARCHAR",
    "gpu_type": "VARCHAR",
    "price_class": "VARCHAR",
    "kind": "VARCHAR",
    "customer": "VARCHAR",
    "domain": "VARCHAR",
    "served_model": "VARCHAR",
    "gpu_ms": "BIGINT",
}
"""GPU time of one day; `kind` is `used`, `idle` or `unmeasured`, and the last two have no customer.
For each pod, the rows add up to its GPU-milliseconds of the day."""
