"""The ledger's side of a comparison, from the warehouse's files.

Every query reads one table of de-duplicated events (the first of a request id counts). It is made
once, from the days of admission that the interval can touch.
"""

import datetime as dt
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.reconciliation.amounts import Amounts
from serving.reconciliation.coverage import Coverage, Window
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.samples import days
from serving.reconciliation.shipping import OpenRequest
from serving.reconciliation.traces import CustomerTally, TraceMoments
from serving.reconciliation.upstream import Tally
from serving.warehouse.columns import EVENTS, ORPHANS
from serving.warehouse.layout import day_folder

# Few ids come twice. To find them costs little; to choose a first row for every id costs much.
_EVENT: Final = """
CREATE TABLE event AS
WITH shipped AS NOT MATERIALIZED (
    SELECT request_id, admitted, ended, customer, pool, server, status, error,
        greatest(coalesce(attempts, 1) - 1, 0) AS retries, input_tokens, output_tokens,
        wasted_pool, wasted_server, wasted_input_tokens, wasted_output_tokens
    FROM {source}
    WHERE ended >= $began AND admitted <= $ended
), twice AS (
    SELECT request_id FROM shipped GROUP BY request_id HAVING count(*) > 1
), firsts AS (
    SELECT DISTINCT ON (request_id) shipped.* FROM shipped SEMI JOIN twice USING (request_id)
    ORDER BY request_id, ended
)
SELECT shipped.* FROM shipped ANTI JOIN twice USING (request_id)
UNION ALL SELECT * FROM firsts
"""
_ORPHAN: Final = """
CREATE TABLE orphan AS
SELECT DISTINCT ON (request_id) request_id, admitted, pool FROM {source}
WHERE admitted >= $began AND admitted <= $ended
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
_ENGINE: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 2,
    "memory_limit": "1GB",
    "autoinstall_known_extensions": False,
}
_PRIORITIES: Final = ("pod_restart", "not_sampled", "in_flight")


class LedgerView:
    """The events and orphans that an interval can touch; a context manager."""

    def __init__(self, store: ObjectStore, began: dt.datetime, ended: dt.datetime) -> None:
        """Read what was in progress at some time of an interval.

        Args:
            store: The warehouse.
            began: Earliest time that anything compared can have been admitted.
            ended: Latest time of anything compared.
        """
        self._store = store
        self._began, self._ended = began, ended
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Load the files. Raises ReconciliationError for one that cannot be read."""
        with self._stack as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-")))
            self._db = stack.enter_context(duckdb.connect(str(scratch / "db"), config=_ENGINE))
            self._load("event", _EVENT, EVENTS, scratch)
            self._load("orphan", _ORPHAN, ORPHANS, scratch)
            self._db.execute(_WORK)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

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

    def going_on(self, requests: Sequence[OpenRequest]) -> list[OpenRequest]:
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

    def _load(self, table: str, query: str, columns: dict[str, str], scratch: Path) -> None:
        folder = "events" if table == "event" else "orphans"
        files = self._fetch(folder, scratch / folder)
        parameters: dict[str, Any] = {"began": _naive(self._began), "ended": _naive(self._ended)}
        if files:
            source, parameters["files"] = "read_parquet($files)", files
        else:
            nulls = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
            source = f"(SELECT {nulls})"
        try:
            self._db.execute(query.format(source=source), parameters)
        except duckdb.Error as error:
            raise ReconciliationError(
                f"{folder}/: {error}: ship the range again, from the ledger that it is of"
            ) from error

    def _fetch(self, folder: str, target: Path) -> list[str]:
        """Copy the files of the days that matter; their names are unique in the warehouse."""
        target.mkdir()
        fetched = []
        for day in days(self._began, self._ended):
            for key in self._store.list(day_folder(folder, day)):
                if not key.endswith(".parquet"):
                    continue
                path = target / f"{day}-{Path(key).name}"
                try:
                    self._store.get_to_file(key, path)
                except RegistryError as error:
                    raise ReconciliationError(f"{key}: {error}") from error
                fetched.append(str(path))
        return fetched


def _naive(moment: dt.datetime) -> dt.datetime:
    """As DuckDB's TIMESTAMP has it: UTC without saying so."""
    return moment.astimezone(dt.UTC).replace(tzinfo=None)
