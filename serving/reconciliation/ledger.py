"""The ledger's side of a comparison, from the warehouse's files.

Every query reads one table of de-duplicated events (the first of a request id counts). It is made
once, from the days of admission that the interval can touch.
"""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

from serving.reconciliation.amounts import Amounts
from serving.reconciliation.coverage import Coverage, Window
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.samples import days
from serving.reconciliation.traces import CustomerTally, TraceMoments
from serving.reconciliation.upstream import Tally
from serving.warehouse import columns, layout
from serving.warehouse.duck import session
from serving.warehouse.events import create_view, take_first_copies
from serving.warehouse.files import Warehouse
from serving.warehouse.progress import OpenRequest

_EVENT: Final = """
CREATE TABLE event AS
SELECT request_id, admitted, ended, customer, pool, server, status, error,
    greatest(coalesce(attempts, 1) - 1, 0) AS retries, input_tokens, output_tokens,
    wasted_pool, wasted_server, wasted_input_tokens, wasted_output_tokens
FROM once
WHERE ended >= $began AND admitted <= $ended
"""
# As in a bill, a request with an event is no orphan.
_ORPHAN: Final = """
CREATE TABLE orphan AS
SELECT DISTINCT ON (request_id) request_id, admitted, pool
FROM named_orphans ANTI JOIN once USING (request_id)
WHERE admitted >= $began AND admitted <= $ended
ORDER BY request_id, writer, admitted
"""
# One row for each piece of work on a model server: an answer, and the one that it replaced.
_WORK: Final = """
CREATE VIEW work AS
SELECT pool, server, admitted, ended, retries,
    CASE WHEN error IN ('upstream_refused', 'release_not_loaded') THEN 'refused'
         WHEN status >= 500 THEN 'failed'
         WHEN input_tokens IS NOT NULL AND status < 400 AND error IS NULL THEN 'answered'
         WHEN input_tokens IS NOT NULL THEN 'cut_off'
         ELSE 'unmeasured' END AS outcome,
    coalesce(input_tokens, 0) AS prompt_tokens,
    coalesce(output_tokens, 0) AS generation_tokens
FROM event
UNION ALL
SELECT wasted_pool, wasted_server, admitted, ended, 0,
    CASE WHEN wasted_input_tokens IS NULL THEN 'wasted_unmeasured' ELSE 'wasted' END,
    coalesce(wasted_input_tokens, 0), coalesce(wasted_output_tokens, 0)
FROM event WHERE wasted_pool IS NOT NULL
"""
# Of overlapping windows the widest kind counts. A server that was not sampled under the name that
# the ledger gives it may be any of them.
_TALLIES: Final = """
WITH placed AS (
    SELECT *, ended > $began AND ended <= $ended AS inside, (
        SELECT min(priority) FROM unhelpful AS u
        WHERE w.admitted <= u.ended AND w.ended >= u.began
            AND (u.server = w.server OR w.server IS NULL OR NOT list_contains($servers, w.server))
    ) AS priority
    FROM work AS w WHERE list_contains($pools, pool)
)
SELECT outcome, inside, priority, count(*), sum(prompt_tokens), sum(generation_tokens),
    sum(retries), sum(retries * prompt_tokens)
FROM placed WHERE inside OR priority IS NOT NULL
GROUP BY ALL ORDER BY ALL
"""
_CUSTOMERS: Final = """
WITH placed AS (
    SELECT *, coalesce(input_tokens, 0) AS prompt, coalesce(output_tokens, 0) AS answer,
        admitted >= $began AND admitted < $ended AS inside,
        CASE WHEN EXISTS (SELECT 1 FROM router_end AS r
                          WHERE e.ended >= r.began AND e.ended <= r.ended) THEN 'router_restart'
             WHEN e.ended > $arrived THEN 'trace_delay'
             WHEN abs(epoch_us(admitted) - epoch_us($began)) <= $edge_us
               OR abs(epoch_us(admitted) - epoch_us($ended)) <= $edge_us THEN 'boundary'
        END AS doubt
    FROM event AS e
)
SELECT customer, inside, doubt, count(*), sum(prompt), sum(answer),
    min(prompt), max(prompt), min(answer), max(answer)
FROM placed WHERE inside OR doubt = 'boundary'
GROUP BY ALL ORDER BY ALL
"""
_PRIORITIES: Final = ("pod_restart", "not_sampled", "in_flight")


@contextlib.contextmanager
def ledger_view(
    warehouse: Warehouse, began: dt.datetime, ended: dt.datetime
) -> Iterator["LedgerView"]:
    """Read what was in progress at some time of an interval.

    Args:
        warehouse: Holds the files.
        began: Earliest time that anything compared can have been admitted.
        ended: Latest time of anything compared.

    Raises:
        ReconciliationError: A file cannot be read.
    """
    events = _files(warehouse, layout.EVENTS, began, ended)
    orphans = _files(warehouse, layout.ORPHANS, began, ended)
    with session(warehouse.scratch) as (connection, _):
        try:
            create_view(connection, "shipped", list(events), columns.EVENTS)
            create_view(connection, "named_orphans", list(orphans), columns.ORPHANS)
            _load(connection, {"began": _naive(began), "ended": _naive(ended)})
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise _unreadable(error, events | orphans) from error
        yield LedgerView(connection)


class LedgerView:
    """The events and orphans that an interval can touch."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Take a connection with the tables `event`, `orphan` and `work`."""
        self._db = connection

    def tallies(self, pools: Sequence[str], coverage: Coverage) -> list[Tally]:
        """What was asked of the servers of some pools in the interval of a coverage."""
        self._windows(coverage.windows)
        rows = self._db.execute(
            _TALLIES,
            {
                "began": _naive(coverage.began),
                "ended": _naive(coverage.ended),
                "servers": sorted(coverage.servers),
                "pools": list(pools),
            },
        ).fetchall()
        return [
            Tally(
                outcome=outcome,
                inside=inside,
                window=None if priority is None else _PRIORITIES[priority],
                requests=requests,
                prompt_tokens=int(prompt),
                generation_tokens=int(generation),
                retries=int(retries),
                retried_prompt_tokens=int(retried),
            )
            for outcome, inside, priority, requests, prompt, generation, retries, retried in rows
        ]

    def orphans(self, pools: Sequence[str], until: dt.datetime) -> int:
        """Orphans of some pools that may have been worked on before a time."""
        row = self._db.execute(
            "SELECT count(*) FROM orphan WHERE list_contains($pools, pool) AND admitted <= $until",
            {"pools": list(pools), "until": _naive(until)},
        ).fetchone()
        return int(row[0]) if row else 0

    def still_open(self, requests: Sequence[OpenRequest]) -> list[OpenRequest]:
        """Those of some requests of which neither an event nor an orphan is known."""
        rows = self._db.execute(
            "SELECT request_id FROM event WHERE list_contains($ids::UUID[], request_id) "
            "UNION ALL "
            "SELECT request_id FROM orphan WHERE list_contains($ids::UUID[], request_id)",
            {"ids": [request.request_id for request in requests]},
        ).fetchall()
        named = {request_id.hex for (request_id,) in rows}
        return [request for request in requests if request.request_id not in named]

    def customers(self, moments: TraceMoments) -> list[CustomerTally]:
        """What every customer asked of an interval, by admission."""
        self._db.execute("CREATE OR REPLACE TABLE router_end (began TIMESTAMP, ended TIMESTAMP)")
        for window in moments.router_ends:
            self._db.execute(
                "INSERT INTO router_end VALUES (?, ?)", [_naive(window.began), _naive(window.ended)]
            )
        rows = self._db.execute(
            _CUSTOMERS,
            {
                "began": _naive(moments.began),
                "ended": _naive(moments.ended),
                "arrived": _naive(moments.arrived),
                "edge_us": moments.edge // dt.timedelta(microseconds=1),
            },
        ).fetchall()
        return [
            CustomerTally(
                customer=customer,
                inside=inside,
                doubt=doubt,
                amounts=Amounts(requests, int(prompt), int(answer)),
                smallest=Amounts(1, least_prompt, least_answer),
                largest=Amounts(1, most_prompt, most_answer),
            )
            for (
                customer, inside, doubt, requests, prompt, answer,
                least_prompt, most_prompt, least_answer, most_answer,
            ) in rows
        ]  # fmt: skip

    def _windows(self, windows: Sequence[Window]) -> None:
        self._db.execute(
            "CREATE OR REPLACE TABLE unhelpful "
            "(server VARCHAR, began TIMESTAMP, ended TIMESTAMP, priority INTEGER)"
        )
        for window in windows:
            priority = _PRIORITIES.index(window.cause)
            values = [window.server, _naive(window.began), _naive(window.ended), priority]
            self._db.execute("INSERT INTO unhelpful VALUES (?, ?, ?, ?)", values)


def _load(connection: duckdb.DuckDBPyConnection, interval: dict[str, dt.datetime]) -> None:
    take_first_copies(connection)
    connection.execute(_EVENT, interval)
    connection.execute(_ORPHAN, interval)
    connection.execute(_WORK)


def _files(
    warehouse: Warehouse, prefix: str, began: dt.datetime, ended: dt.datetime
) -> dict[Path, str]:
    """Local files of the days that matter, and their keys."""
    entries = [
        entry
        for day in days(began, ended)
        for entry in warehouse.entries(layout.day_folder(prefix, day))
        if entry.key.endswith(".parquet")
    ]
    paths = warehouse.files(entries)
    return {path: entry.key for path, entry in zip(paths, entries, strict=True)}


def _unreadable(error: duckdb.Error, keys: Mapping[Path, str]) -> ReconciliationError:
    """DuckDB names the local file, which may be a copy."""
    text = str(error).splitlines()[0]
    for path, key in keys.items():
        text = text.replace(str(path), key)
    return ReconciliationError(f"{text}: ship the range again, from the ledger that it is of")


def _naive(moment: dt.datetime) -> dt.datetime:
    """As DuckDB's TIMESTAMP has it: UTC without saying so."""
    return moment.astimezone(dt.UTC).replace(tzinfo=None)
