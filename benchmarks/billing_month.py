"""A month of a warehouse, made up: about 50 customers, 100 adapters, 2 pools, 10 pods."""

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import duckdb

from serving.billing.gpu_time import GpuWeights, TokenWeights
from serving.billing.prices import PriceTable
from serving.warehouse.layout import EVENTS, PODS, day_folder, range_name, span

FIRST_DAY: Final = dt.date(2026, 11, 1)
WEIGHTS: Final = GpuWeights(
    pools={
        "slm": TokenWeights(prefill_us=20, cached_us=0, decode_us=200),
        "llm": TokenWeights(prefill_us=60, cached_us=1, decode_us=300),
    },
    source="made up, so that the pods of 100 million events a month are about 40 % busy",
)
PRICES: Final = PriceTable.model_validate(
    {
        "currency": "USD",
        "prices": [
            {
                "from": FIRST_DAY.isoformat(),
                "pools": {
                    "slm": {"input": "0.10", "cached_input": "0.025", "output": "0.40"},
                    "llm": {"input": "3", "cached_input": "0.75", "output": "12", "gpu_hour": "4"},
                },
            }
        ],
    }
)
_FILES_A_DAY: Final = 48
_SLM_PODS, _LLM_PODS = 7, 3
# Of one file in 48, half is shipped twice: about 1 % of the events.
_RESHIPPED: Final = 0.5

# `hash` makes the numbers: the same month every time, in any order of the files.
_EVENTS: Final = """
COPY (
    WITH drawn AS (
        SELECT
            i,
            epoch_ms($day::TIMESTAMP) + (i - $first) * 86400000 // $day_rows AS ms,
            floor(100 * pow(hash(i, 1) % 10000 / 10000, 2))::INTEGER AS adapter,
            hash(i, 2) % 10 < 3 AS llm,
            200 + (hash(i, 3) % 1600)::BIGINT AS prompt,
            20 + (hash(i, 4) % 580)::BIGINT AS answer,
            hash(i, 5) % 1000 AS luck,
            hash(i, 6) % 10 < 4 AS escalated,
            hash(i, 7) AS pod,
            hash(i, 8) AS noise
        FROM range($begin, $end) AS numbers(i)
    ), timed AS (
        SELECT
            *,
            100000 + prompt * 200 + (noise % 50000)::BIGINT AS ttft_us,
            ttft_us + answer * 20000 + (noise // 64 % 5000)::BIGINT AS latency_us
        FROM drawn
    )
    SELECT
        ((ms::UHUGEINT << 80) | (hash(i)::UHUGEINT << 16) | (noise % 65536)::UHUGEINT)::UUID
            AS request_id,
        make_timestamp(ms * 1000 + (noise % 1000)::BIGINT) AS admitted,
        admitted + to_microseconds(latency_us) AS ended,
        format('customer-{:02d}', adapter // 2) AS customer,
        format('domain-{:02d}', adapter) AS domain,
        'v1.2' AS version,
        format('domain-{:02d}-v1.2', adapter) AS served_model,
        if(llm, 'llm', 'slm') AS pool,
        if(llm, 'llm-' || pod % $llm_pods, 'slm-' || pod % $slm_pods) AS server,
        CASE WHEN adapter < 5 THEN if(pod % 2 = 0, 'control', 'candidate') END AS experiment,
        luck % 2 = 0 AS stream,
        CASE WHEN luck < 10 THEN 502 WHEN luck < 15 THEN 499 ELSE 200 END::SMALLINT AS status,
        CASE WHEN luck < 10 THEN 'upstream_error' END AS error,
        1::SMALLINT AS attempts,
        CASE WHEN luck >= 15 THEN prompt END AS input_tokens,
        CASE WHEN luck >= 15 THEN prompt * (luck::BIGINT % 4) // 5 END AS cached_tokens,
        CASE WHEN luck >= 15 THEN answer END AS output_tokens,
        CASE WHEN llm AND escalated THEN 'slm' END AS wasted_pool,
        CASE WHEN llm AND escalated THEN 'slm-' || pod // 10 % $slm_pods END AS wasted_server,
        CASE WHEN llm AND escalated THEN prompt ELSE 0 END AS wasted_input_tokens,
        0::BIGINT AS wasted_cached_tokens,
        CASE WHEN llm AND escalated THEN answer // 2 ELSE 0 END AS wasted_output_tokens,
        latency_us,
        ttft_us,
        'router-' || pod % 3 AS writer
    FROM timed
) TO $path (FORMAT parquet, COMPRESSION zstd)
"""


def make_month(root: Path, *, events: int, days: int) -> None:
    """Write events and pods of `days` days below `root`; about 1 % of the rows are duplicates."""
    with duckdb.connect(config={"threads": 1}) as connection, ThreadPoolExecutor(2) as pool:
        for task in [
            pool.submit(_make_day, connection.cursor(), root, day, rows)
            for day, rows in _days(events, days)
        ]:
            task.result()


def _days(events: int, days: int) -> Iterator[tuple[dt.date, range]]:
    for number in range(days):
        rows = range(events * number // days, events * (number + 1) // days)
        yield FIRST_DAY + dt.timedelta(days=number), rows


def _make_day(connection: duckdb.DuckDBPyConnection, root: Path, day: dt.date, rows: range) -> None:
    folder = root / day_folder(EVENTS, day)
    folder.mkdir(parents=True)
    for number, (begin, end) in enumerate(_files(rows)):
        name = range_name("router", "0" * 16, number, span(0, end - begin, 0))
        values = {
            "day": day,
            "first": rows.start,
            "day_rows": len(rows),
            "begin": begin,
            "end": end,
            "slm_pods": _SLM_PODS,
            "llm_pods": _LLM_PODS,
            "path": str(folder / name),
        }
        connection.execute(_EVENTS, values)
    _make_pods(root, day)


def _files(rows: range) -> Iterator[tuple[int, int]]:
    edges = [rows.start + len(rows) * n // _FILES_A_DAY for n in range(_FILES_A_DAY + 1)]
    yield from itertools.pairwise(edges)
    yield edges[0], edges[0] + round((edges[1] - edges[0]) * _RESHIPPED)


def _make_pods(root: Path, day: dt.date) -> None:
    folder = root / day_folder(PODS, day)
    folder.mkdir(parents=True)
    pods = [(f"slm-{n}", "slm", "L4") for n in range(_SLM_PODS)]
    pods += [(f"llm-{n}", "llm", "H100") for n in range(_LLM_PODS)]
    intervals = [
        {
            "pod": pod,
            "pool": pool,
            "gpu_type": gpu_type,
            "gpus": 1,
            "price_class": "on-demand",
            "started": f"{day}T00:00:00Z",
            "ended": f"{day + dt.timedelta(days=1)}T00:00:00Z",
        }
        for pod, pool, gpu_type in pods
    ]
    (folder / "cluster.json").write_text(json.dumps({"intervals": intervals}))
