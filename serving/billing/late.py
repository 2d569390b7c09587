"""What arrived of earlier months, and no closed month bills."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from serving.billing.closed import ClosedMonth
from serving.billing.days import DayParts
from serving.billing.usage import Attention, DayPart, GpuRow, Orphan, PriceClass, UsageRow
from serving.warehouse.layout import EVENTS, day_folder


@dataclass(frozen=True)
class Late:
    """What arrived late, and the parts that have it."""

    rows: tuple[UsageRow, ...] = ()
    gpu: tuple[GpuRow, ...] = ()
    """Of kind `late`; of days that no month bills, whatever their parts have."""
    orphans: tuple[Orphan, ...] = ()
    attention: tuple[Attention, ...] = ()
    parts: dict[str, str] = field(default_factory=dict)
    """Digests, by ISO day."""


def billed_by(chain: Iterable[ClosedMonth]) -> dict[dt.date, tuple[str, ...]]:
    """Digests of the parts by which closed months bill each day, in their order."""
    found: defaultdict[dt.date, list[str]] = defaultdict(list)
    for closed in chain:
        for day, digest in closed.billed_parts.items():
            found[dt.date.fromisoformat(day)].append(digest)
    return {day: tuple(digests) for day, digests in found.items()}


def late_days(
    parts: DayParts, days: Iterable[dt.date], billed: dict[dt.date, tuple[str, ...]]
) -> Late:
    """Find what arrived late.

    The GPU time of late use was idle or unmeasured when its day was closed, and stays so. That of
    pods that were reported late is the platform's.

    Args:
        parts: The warehouse's days.
        days: Those to look at.
        billed: As `billed_by` gives it.

    Raises:
        BillingError: A part is missing or damaged.
    """
    late = [_late_day(parts, day, billed.get(day, ())) for day in sorted(days)]
    return Late(
        tuple(row for each in late for row in each.rows),
        tuple(row for each in late for row in each.gpu),
        tuple(orphan for each in late for orphan in each.orphans),
        tuple(found for each in late for found in each.attention),
        {day: digest for each in late for day, digest in each.parts.items()},
    )


def _late_day(parts: DayParts, day: dt.date, billed: Sequence[str]) -> Late:
    if not billed:
        part = parts.current(day)
        named = {day.isoformat(): part.digest}
        return Late(part.usage, part.gpu, part.orphans, part.attention, named)
    late = parts.late(day, billed)
    part = late.part
    if part.digest == billed[-1]:
        return Late()
    before = [parts.frozen(day, digest) for digest in billed]
    found = tuple(each for each in part.attention if each not in before[-1].attention)
    return Late(
        late.usage,
        _late_gpu(part, before),
        tuple(orphan for orphan in part.orphans if orphan not in before[-1].orphans),
        (*found, *_gone(day, late.gone)),
        {day.isoformat(): part.digest},
    )


def _late_gpu(part: DayPart, before: Iterable[DayPart]) -> tuple[GpuRow, ...]:
    """GPU time of a part beyond the most that any earlier one has of the same pod."""
    known = Counter[tuple[str, str, str, PriceClass]]()
    for each in before:
        known |= _pod_ms(each)
    more = _pod_ms(part) - known
    return tuple(
        GpuRow(part.day, *slot, "late", None, None, None, gpu_ms)
        for slot, gpu_ms in sorted(more.items())
    )


def _pod_ms(part: DayPart) -> Counter[tuple[str, str, str, PriceClass]]:
    found = Counter[tuple[str, str, str, PriceClass]]()
    for row in part.gpu:
        found[row.pod, row.pool, row.gpu_type, row.price_class] += row.gpu_ms
    return found


def _gone(day: dt.date, requests: int) -> list[Attention]:
    if not requests:
        return []
    return [
        Attention(
            "billed-missing",
            day_folder(EVENTS, day),
            "requests that a closed month bills are not in the day's files any more, or not as "
            "they were: their bill stays; find out why, and restore the files",
            requests,
        )
    ]
