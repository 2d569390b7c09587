"""GPU time given out one request and one window at a time, to compare the SQL with."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.billing.gpu_time import GpuWeights
from serving.billing.pods import Held, Slot
from tests.billing.rows import START

WINDOW_US = 60_000_000
LAST_WINDOW = 1439

Who = tuple[str, str, str]
Origin = tuple[Any, ...]
"""What the engine's requests of one kind share; their weight is spread over a pool as one."""
Load = defaultdict[tuple[str, int], list[tuple[Who, int]]]
"""Microseconds by pod and window."""
Unknown = set[tuple[str, int]]
"""Pods and windows in which something of unknown weight ran."""
Given = dict[tuple[Slot, str, Who | None], int]
"""GPU-milliseconds by slot, kind and customer, domain, adapter."""


@dataclass(frozen=True)
class Answer:
    """What one pod did for one request; times are microseconds of the day."""

    pod: str | None
    """None: some pod of the pool."""
    pool: str
    who: Who
    origin: Origin
    admitted: int
    first_byte: int
    done: int
    prompt_us: int | None
    """None: of unknown weight."""
    answer_us: int


def answers(row: Mapping[str, Any], weights: GpuWeights) -> Iterable[Answer]:
    """The kept answer and the wasted one, as far as there are."""
    admitted = round((row["admitted"] - START).total_seconds() * 1_000_000)
    done = admitted + (row["latency_us"] or 0)
    first_byte = min(admitted + (row["ttft_us"] or 0), done)
    failed = row["status"] >= 500 or row["input_tokens"] is None or row["output_tokens"] is None
    who = (row["customer"], row["domain"], row["served_model"])
    origin = (*who, row["pool"], row["server"], row["wasted_pool"], row["wasted_server"])
    if row["server"] is not None or row["attempts"] > 0:
        weight = None if failed else _weight(row, "", row["pool"], weights)
        times = (admitted, first_byte, done)
        yield Answer(row["server"], row["pool"], who, origin, *times, *(weight or (None, 0)))
    if (pool := row["wasted_pool"]) is not None:
        weight = None if failed else _weight(row, "wasted_", pool, weights)
        times = (admitted, admitted, done if row["ttft_us"] is None else first_byte)
        yield Answer(row["wasted_server"], pool, who, origin, *times, *(weight or (None, 0)))


def _weight(
    row: Mapping[str, Any], kind: str, pool: str, weights: GpuWeights
) -> tuple[int, int] | None:
    tokens = [row[f"{kind}{name}_tokens"] for name in ("input", "cached", "output")]
    if pool not in weights.pools or tokens[0] is None or tokens[2] is None:
        return None
    of, cached = weights.pools[pool], tokens[1] or 0
    prompt = (tokens[0] - cached) * of.prefill_us + cached * of.cached_us
    return prompt, tokens[2] * of.decode_us


def window(us: int) -> int:
    """The window of a time; what is past midnight is in the last one."""
    return min(us // WINDOW_US, LAST_WINDOW)


def pieces(answer: Answer) -> Iterable[tuple[int, int]]:
    """Windows of an answer, and the microseconds that fall into each."""
    assert answer.prompt_us is not None
    first, last = window(answer.first_byte), window(answer.done)
    given = 0
    for at in range(first, last + 1):
        until = answer.answer_us
        if at < last:
            elapsed = (at + 1) * WINDOW_US - answer.first_byte
            until = answer.answer_us * elapsed // (answer.done - answer.first_byte)
        yield at, until - given + (answer.prompt_us if at == first else 0)
        given = until


def capacity(held: Mapping[Slot, Sequence[Held]]) -> dict[tuple[Slot, int], int]:
    """GPU-microseconds of each slot in each window that it was there in."""
    found: defaultdict[tuple[Slot, int], int] = defaultdict(int)
    for slot, spans in held.items():
        for span in spans:
            for at in range(span.started_ms // 60_000, (span.ended_ms - 1) // 60_000 + 1):
                begin = max(span.started_ms, at * 60_000)
                end = min(span.ended_ms, (at + 1) * 60_000)
                found[slot, at] += span.gpus * (end - begin) * 1000
    return dict(found)


def _placed(given: Iterable[Answer], there: Mapping[tuple[Slot, int], int]) -> tuple[Load, Unknown]:
    load: Load = defaultdict(list)
    anywhere: defaultdict[tuple[str, int, Who, Origin], int] = defaultdict(int)
    unknown: Unknown = set()
    for answer in given:
        if answer.prompt_us is None:
            for at in range(window(answer.admitted), window(answer.done) + 1):
                pods = _pods(there, answer.pool, at) if answer.pod is None else [answer.pod]
                unknown.update((pod, at) for pod in pods)
            continue
        for at, us in pieces(answer):
            if answer.pod is None:
                anywhere[answer.pool, at, answer.who, answer.origin] += us
            else:
                load[answer.pod, at].append((answer.who, us))
    for (pool, at, who, _), us in anywhere.items():
        pods = _pods(there, pool, at)
        for pod, free in pods.items():
            if free:
                load[pod, at].append((who, us * free // sum(pods.values())))
    return load, unknown


def allocate(
    rows: Iterable[Mapping[str, Any]], held: Mapping[Slot, Sequence[Held]], weights: GpuWeights
) -> Given:
    """GPU time of billable rows of one day, no two of which have the same id."""
    there = capacity(held)
    load, unknown = _placed([found for row in rows for found in answers(row, weights)], there)
    amounts: defaultdict[Slot, defaultdict[tuple[str, Who | None], int]]
    amounts = defaultdict(lambda: defaultdict(int))
    for slot, at in there:
        free = there[slot, at]
        rivals = [other for other, when in there if when == at and other.pod == slot.pod]
        if slot == max(rivals, key=lambda one: (there[one, at], -list(held).index(one))):
            demand = sum(us for _, us in load[slot.pod, at])
            for who, us in load[slot.pod, at]:
                share = us if demand <= there[slot, at] else us * there[slot, at] // demand
                amounts[slot]["used", who] += share
                free -= share
        kind = "unmeasured" if (slot.pod, at) in unknown else "idle"
        amounts[slot][kind, None] += free
    return {
        (slot, *key): ms for slot, of in amounts.items() for key, ms in _whole(of).items() if ms > 0
    }


def _pods(there: Mapping[tuple[Slot, int], int], pool: str, at: int) -> dict[str, int]:
    """Microseconds of a pool's pods in a window."""
    found: defaultdict[str, int] = defaultdict(int)
    for (slot, when), us in there.items():
        if slot.pool == pool and when == at:
            found[slot.pod] += us
    return found


def _whole(amounts: Mapping[tuple[str, Who | None], int]) -> dict[tuple[str, Who | None], int]:
    # Customers first, by name; then idle, then unmeasured.
    keys = sorted(amounts, key=lambda key: (key[1] is None, key[1] or (), key[0]))
    cut = {key: amounts[key] // 1000 for key in keys}
    for _ in range(sum(amounts.values()) // 1000 - sum(cut.values())):
        most = max(keys, key=lambda key: (amounts[key] - 1000 * cut[key], -keys.index(key)))
        cut[most] += 1
    return cut
