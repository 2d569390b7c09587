"""GPU time of a day, given to those who used it, in windows of 60 s (ADR 6).

An engine shares its GPUs between requests, so this is an allocation, not a measurement. Each token
weighs some GPU-microseconds. The weight of a request's prompt falls into the window of its first
byte; that of its answer is spread evenly over the time from then to its end. A wasted answer was
given between the admission and that first byte.

A window that weighs more than its GPU time is scaled to it, each request to the microsecond below.
What requests do not use is `idle`, or `unmeasured` when a request of unknown weight ran in the
window: one without token counts, one that failed, or one that is not billed. At the end of the day
a pod's microseconds become whole GPU-milliseconds by the largest remainder, so its rows add up to
its time exactly.

A request whose pod the router could not tell (a pool of several) ran somewhere in its pool: its
weight is spread over the GPUs that the pool's pods held in the window, and an unknown weight makes
the window `unmeasured` on all of them. So does an orphan, for as long as a router waits for an
answer.

A request belongs to the day of its admission: what runs past midnight falls into the last window.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import duckdb
from pydantic import Field

from registry.documents import Document
from serving.billing.pods import Held, Slot
from serving.billing.usage import Attention, GpuRow, Orphan


class TokenWeights(Document):
    """GPU-microseconds that a token takes in a pool; on two GPUs, a microsecond counts twice."""

    prefill_us: int = Field(ge=0, le=1_000_000)
    """An input token that the prefix cache did not hold."""
    cached_us: int = Field(ge=0, le=1_000_000)
    decode_us: int = Field(ge=0, le=1_000_000)


class GpuWeights(Document):
    """Weights by pool.

    Calibrate a pool by saturating it twice, once with long prompts and one output token, once with
    short prompts and long answers: GPU-microseconds spent, divided by tokens.
    """

    pools: dict[str, TokenWeights] = Field(min_length=1)
    """Requests of a pool that is not here are of unknown weight."""
    source: str
    """Where the numbers come from."""


_GUIDE: Final = TokenWeights(prefill_us=360, cached_us=0, decode_us=360)

UNCALIBRATED: Final = GpuWeights(
    pools={"slm": _GUIDE, "llm": _GUIDE},
    source="not calibrated: 50 GPU-hours for 500 million tokens, as in the guide's cost table",
)
"""What holds until pools are calibrated: `weights` of the jobs' configuration, the same document
in `stacks/gpu-weights.json` for `pipeline bill`.

The guide does not tell input from output; a token from the prefix cache is not computed again.
"""


ORPHAN_S: Final = 600
"""Longest time that an orphan ran for, as far as is known: the router's default request timeout."""


_TABLES: Final = """
CREATE OR REPLACE TEMP TABLE weights (
    pool VARCHAR, prefill_us BIGINT, cached_us BIGINT, decode_us BIGINT
);
CREATE OR REPLACE TEMP TABLE held (
    slot INTEGER, pod VARCHAR, pool VARCHAR, started_ms BIGINT, ended_ms BIGINT, gpus BIGINT
);
CREATE OR REPLACE TEMP TABLE lost (pool VARCHAR, admitted_us BIGINT);
CREATE OR REPLACE TEMP MACRO window_at(us) AS greatest(0, least(1439, us // 60000000));
CREATE OR REPLACE TEMP MACRO weight(input, cached, prefill_us, cached_us) AS
    (input - coalesce(cached, 0)) * prefill_us + coalesce(cached, 0) * cached_us;
CREATE OR REPLACE TEMP MACRO within(us) AS greatest(0, least(86400000000, coalesce(us, 0)));
"""

_PODS: Final = """
CREATE OR REPLACE TEMP TABLE pods AS
WITH names AS (
    SELECT pod AS name FROM held
    UNION SELECT server FROM origins
    UNION SELECT wasted_server FROM origins
)
SELECT row_number() OVER ()::SMALLINT AS pod, name FROM names WHERE name IS NOT NULL
"""

_POOLS: Final = """
CREATE OR REPLACE TEMP TABLE pools AS
WITH names AS (
    SELECT pool AS name FROM held
    UNION SELECT pool FROM origins
    UNION SELECT wasted_pool FROM origins
    UNION SELECT pool FROM lost
)
SELECT row_number() OVER ()::SMALLINT AS pool, name FROM names WHERE name IS NOT NULL
"""

_RATES: Final = """
CREATE OR REPLACE TEMP TABLE rates AS
SELECT
    origin,
    kept_pod.pod AS pod,
    kept_pool.pool AS pool,
    kept.prefill_us, kept.cached_us, kept.decode_us,
    wasted_pod.pod AS wasted_pod,
    wasted_pool.pool AS wasted_pool,
    wasted.prefill_us AS wasted_prefill_us,
    wasted.cached_us AS wasted_cached_us,
    wasted.decode_us AS wasted_decode_us
FROM origins
LEFT JOIN pods AS kept_pod ON kept_pod.name = server
LEFT JOIN pods AS wasted_pod ON wasted_pod.name = wasted_server
LEFT JOIN pools AS kept_pool ON kept_pool.name = origins.pool
LEFT JOIN pools AS wasted_pool ON wasted_pool.name = origins.wasted_pool
LEFT JOIN weights AS kept ON kept.pool = origins.pool
LEFT JOIN weights AS wasted ON wasted.pool = origins.wasted_pool
"""

# One row for each answer that a pod gave; `pod` is NULL where only the pool is known. Times are
# microseconds since the day began.
_ANSWERS: Final = """
CREATE OR REPLACE TEMP VIEW answers AS
WITH timed AS NOT MATERIALIZED (
    SELECT
        *,
        within(epoch_us(admitted) - epoch_us(getvariable('day')::TIMESTAMP)) AS admitted_us,
        admitted_us + within(latency_us) AS done_us,
        least(admitted_us + within(ttft_us), done_us) AS first_byte_us,
        problem IS NULL AND status < 500
            AND input_tokens IS NOT NULL AND output_tokens IS NOT NULL AS counted
    FROM events JOIN rates USING (origin)
    WHERE problem IS NULL OR problem NOT IN ('clock', 'incomplete-record')
), kept AS (
    SELECT
        pod, pool, origin, admitted_us, first_byte_us, done_us,
        input_tokens, cached_tokens, output_tokens, prefill_us, cached_us, decode_us,
        counted AND prefill_us IS NOT NULL AS is_weighed
    FROM timed
    WHERE pod IS NOT NULL OR attempts > 0
), wasted AS (
    SELECT
        wasted_pod, wasted_pool, origin, admitted_us, admitted_us,
        CASE WHEN ttft_us IS NULL THEN done_us ELSE first_byte_us END,
        wasted_input_tokens, wasted_cached_tokens, wasted_output_tokens,
        wasted_prefill_us, wasted_cached_us, wasted_decode_us,
        counted AND wasted_prefill_us IS NOT NULL
            AND wasted_input_tokens IS NOT NULL AND wasted_output_tokens IS NOT NULL
    FROM timed
    WHERE wasted_pod IS NOT NULL OR wasted_pool IS NOT NULL
)
SELECT * FROM kept UNION ALL SELECT * FROM wasted
"""

# Most requests lie within one window, and cutting those would cost as much as all the rest.
_LOAD: Final = """
CREATE OR REPLACE TEMP TABLE load AS
WITH placed AS (
    SELECT
        pod, pool, origin, first_byte_us, done_us,
        window_at(first_byte_us) AS first_window,
        window_at(done_us) AS last_window,
        weight(input_tokens, cached_tokens, prefill_us, cached_us) AS prompt_us,
        output_tokens * decode_us AS answer_us
    FROM answers
    WHERE is_weighed
), cut AS (
    SELECT
        *,
        unnest(range(first_window, last_window + 1)) AS at_window,
        -- How much of the answer was given before the window began, and before it ended.
        CASE WHEN at_window = first_window THEN 0 ELSE (
            answer_us::HUGEINT * (at_window * 60000000 - first_byte_us)
            // (done_us - first_byte_us)
        )::BIGINT END AS before_us,
        CASE WHEN at_window = last_window THEN answer_us ELSE (
            answer_us::HUGEINT * ((at_window + 1) * 60000000 - first_byte_us)
            // (done_us - first_byte_us)
        )::BIGINT END AS after_us
    FROM placed
    WHERE first_window < last_window
)
SELECT
    pod, pool, first_window::SMALLINT AS at_window, origin, true AS is_first,
    prompt_us + answer_us AS us
FROM placed
WHERE first_window = last_window
UNION ALL
SELECT
    pod, pool, at_window::SMALLINT, origin, at_window = first_window,
    after_us - before_us + CASE WHEN at_window = first_window THEN prompt_us ELSE 0 END
FROM cut
"""

_UNWEIGHED: Final = """
CREATE OR REPLACE TEMP TABLE unweighed AS
WITH ran AS (
    SELECT pod, pool, admitted_us, done_us FROM answers WHERE NOT is_weighed
    UNION ALL
    SELECT NULL, pools.pool, admitted_us, admitted_us + getvariable('orphan_us')
    FROM lost JOIN pools ON pools.name = lost.pool
), cut AS (
    SELECT
        pod, pool,
        window_at(admitted_us) AS first_window,
        unnest(range(first_window, window_at(done_us) + 1)) AS at_window
    FROM ran
)
SELECT
    pod, pool, at_window::SMALLINT AS at_window,
    count(*) FILTER (WHERE at_window = first_window) AS answers
FROM cut
GROUP BY pod, pool, at_window
"""

_SHARES: Final = """
CREATE OR REPLACE TEMP TABLE shares AS
WITH there AS (
    SELECT pool, pod, at_window, sum(us)::BIGINT AS us FROM capacity GROUP BY pool, pod, at_window
)
SELECT *, sum(us) OVER (PARTITION BY pool, at_window)::BIGINT AS pool_us FROM there
"""

# Of requests whose pod is not known, those of one origin are spread together.
_SPREAD: Final = """
INSERT INTO load
WITH anywhere AS (
    SELECT pool, at_window, origin, sum(us)::BIGINT AS us
    FROM load
    WHERE pod IS NULL
    GROUP BY pool, at_window, origin
)
SELECT
    pod, pool, at_window, origin, false,
    (anywhere.us::HUGEINT * shares.us // pool_us)::BIGINT
FROM anywhere JOIN shares USING (pool, at_window)
WHERE pool_us > 0
"""

_DEMAND: Final = """
CREATE OR REPLACE TEMP TABLE demand AS
SELECT pod, at_window, sum(us)::BIGINT AS us, count(*) FILTER (WHERE is_first) AS answers
FROM load
WHERE pod IS NOT NULL
GROUP BY pod, at_window
"""

_CAPACITY: Final = """
CREATE OR REPLACE TEMP TABLE capacity AS
WITH cut AS (
    SELECT *, unnest(range(started_ms // 60000, (ended_ms - 1) // 60000 + 1)) AS at_window
    FROM held
)
SELECT
    slot, pods.pod, pools.pool, at_window::SMALLINT AS at_window,
    1000 * sum(
        gpus * (least(ended_ms, (at_window + 1) * 60000) - greatest(started_ms, at_window * 60000))
    )::BIGINT AS us
FROM cut JOIN pods ON pods.name = cut.pod JOIN pools ON pools.name = cut.pool
GROUP BY slot, pods.pod, pools.pool, at_window
"""

# Where a pod's name comes back with other GPUs within a window, those that were there longest
# carry the window's load.
_CARRIERS: Final = """
CREATE OR REPLACE TEMP TABLE carriers AS
SELECT slot, pod, at_window, capacity.us AS us, demand.us AS demand_us
FROM capacity JOIN demand USING (pod, at_window)
QUALIFY row_number() OVER (PARTITION BY pod, at_window ORDER BY capacity.us DESC, slot) = 1
"""

_USED: Final = """
CREATE OR REPLACE TEMP TABLE used AS
SELECT
    slot, at_window, origin,
    sum(CASE
        WHEN demand_us > carriers.us
            THEN (load.us::HUGEINT * carriers.us // demand_us)::BIGINT
        ELSE load.us
    END)::BIGINT AS us
FROM load JOIN carriers USING (pod, at_window)
GROUP BY GROUPING SETS ((slot, origin), (slot, at_window))
"""

_BY_CUSTOMER: Final = """
SELECT slot, 'used' AS kind, customer, domain, served_model, sum(us)::BIGINT
FROM used JOIN origins USING (origin)
WHERE used.origin IS NOT NULL
GROUP BY slot, customer, domain, served_model
ORDER BY slot, customer, domain, served_model
"""

_LEFT_OVER: Final = """
WITH unknown AS (
    SELECT pod, at_window FROM unweighed WHERE pod IS NOT NULL
    UNION
    SELECT shares.pod, at_window
    FROM unweighed JOIN shares USING (pool, at_window)
    WHERE unweighed.pod IS NULL
)
SELECT
    slot,
    CASE WHEN unknown.pod IS NULL THEN 'idle' ELSE 'unmeasured' END AS kind,
    NULL, NULL, NULL,
    sum(capacity.us - coalesce(used.us, 0))::BIGINT
FROM capacity
LEFT JOIN used USING (slot, at_window)
LEFT JOIN unknown USING (pod, at_window)
GROUP BY slot, kind
ORDER BY slot, kind
"""

_UNKNOWN_PODS: Final = """
WITH ran AS (
    SELECT pod, at_window, answers FROM demand
    UNION ALL
    SELECT pod, at_window, answers FROM unweighed WHERE pod IS NOT NULL
)
SELECT name, sum(answers)::BIGINT
FROM ran ANTI JOIN capacity USING (pod, at_window) JOIN pods USING (pod)
WHERE answers > 0
GROUP BY name
ORDER BY name
"""

_POOLS_WITHOUT_PODS: Final = """
WITH ran AS (
    SELECT pool, at_window, count(*) AS answers
    FROM load
    WHERE pod IS NULL AND is_first
    GROUP BY pool, at_window
    UNION ALL
    SELECT pool, at_window, answers FROM unweighed WHERE pod IS NULL
)
SELECT name, sum(answers)::BIGINT
FROM ran ANTI JOIN capacity USING (pool, at_window) JOIN pools USING (pool)
WHERE answers > 0
GROUP BY name
ORDER BY name
"""


_STEPS: Final = (
    *(_PODS, _POOLS, _RATES, _ANSWERS, _LOAD, _UNWEIGHED),
    *(_CAPACITY, _SHARES, _SPREAD, _DEMAND, _CARRIERS, _USED),
)


class _Amount(NamedTuple):
    slot: int
    kind: Literal["used", "idle", "unmeasured"]
    customer: str | None
    domain: str | None
    served_model: str | None
    us: int


def allocate(
    connection: duckdb.DuckDBPyConnection,
    day: dt.date,
    held: Mapping[Slot, Sequence[Held]],
    weights: GpuWeights,
    orphans: Sequence[Orphan] = (),
) -> tuple[tuple[GpuRow, ...], tuple[Attention, ...]]:
    """Give the day's GPU time to the events of the session (`day_events.load_day`).

    Args:
        connection: Holds `events` and `origins`.
        day: The UTC day.
        held: GPUs by slot, on that day.
        weights: What a token takes.
        orphans: The day's.

    Returns:
        Rows by slot, those of customers first; and pods, or pools where nobody knows the pod, that
        answered while no report has them.
    """
    slots = list(held)
    _fill(connection, slots, held, weights)
    _fill_orphans(connection, day, orphans)
    for statement in _STEPS:
        connection.execute(statement)
    amounts = [
        _Amount(*row)
        for query in (_BY_CUSTOMER, _LEFT_OVER)
        for row in connection.execute(query).fetchall()
    ]
    return tuple(_rows(day, slots, amounts)), _unknown_pods(connection)


def whole_milliseconds(microseconds: Sequence[int]) -> list[int]:
    """Turn amounts that add up to whole milliseconds into milliseconds with the same sum.

    Largest remainder (Hamilton): each is cut to the millisecond below, and what is missing goes to
    those that lost most, the earlier one first.
    """
    whole = [us // 1000 for us in microseconds]
    missing = sum(microseconds) // 1000 - sum(whole)
    by_loss = sorted(range(len(whole)), key=lambda n: (-(microseconds[n] % 1000), n))
    for number in by_loss[:missing]:
        whole[number] += 1
    return whole


def _fill(
    connection: duckdb.DuckDBPyConnection,
    slots: Sequence[Slot],
    held: Mapping[Slot, Sequence[Held]],
    weights: GpuWeights,
) -> None:
    connection.execute(_TABLES)
    for pool, one in weights.pools.items():
        connection.execute(
            "INSERT INTO weights VALUES (?, ?, ?, ?)",
            [pool, one.prefill_us, one.cached_us, one.decode_us],
        )
    for number, slot in enumerate(slots):
        for span in held[slot]:
            connection.execute(
                "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?)",
                [number, slot.pod, slot.pool, span.started_ms, span.ended_ms, span.gpus],
            )


def _fill_orphans(
    connection: duckdb.DuckDBPyConnection, day: dt.date, orphans: Sequence[Orphan]
) -> None:
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    connection.execute("SET VARIABLE orphan_us = ?::BIGINT", [ORPHAN_S * 1_000_000])
    connection.execute(
        "INSERT INTO lost SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[])",
        [
            [one.pool for one in orphans],
            [(one.admitted - begin) // dt.timedelta(microseconds=1) for one in orphans],
        ],
    )


def _rows(day: dt.date, slots: Sequence[Slot], amounts: Sequence[_Amount]) -> Iterator[GpuRow]:
    by_slot: defaultdict[int, list[_Amount]] = defaultdict(list)
    for amount in amounts:
        by_slot[amount.slot].append(amount)
    for number, mine in sorted(by_slot.items()):
        slot = slots[number]
        for amount, gpu_ms in zip(mine, whole_milliseconds([one.us for one in mine]), strict=True):
            if gpu_ms == 0:
                continue
            yield GpuRow(
                day=day,
                pod=slot.pod,
                pool=slot.pool,
                gpu_type=slot.gpu_type,
                price_class=slot.price_class,
                kind=amount.kind,
                customer=amount.customer,
                domain=amount.domain,
                served_model=amount.served_model,
                gpu_ms=gpu_ms,
            )


def _unknown_pods(connection: duckdb.DuckDBPyConnection) -> tuple[Attention, ...]:
    return tuple(
        Attention("unknown-pod", place, f"{what}; report its intervals", answers)
        for query, what in (
            (
                _UNKNOWN_PODS,
                "answered at times when no report has the pod: its GPU time is not known and not "
                "invented",
            ),
            (
                _POOLS_WITHOUT_PODS,
                "a pod of this pool answered at times when no report has any: its GPU time is not "
                "known and not invented",
            ),
        )
        for place, answers in connection.execute(query).fetchall()
    )
