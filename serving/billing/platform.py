"""GPU time that no customer is billed for. No I/O."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

from serving.billing import money
from serving.billing.lines import gpu_amount, gpu_time
from serving.billing.prices import PriceTable
from serving.billing.statement import PlatformLine
from serving.billing.usage import GpuRow, PriceClass


class _Key(NamedTuple):
    kind: Literal["idle", "unmeasured", "unbilled", "late"]
    pool: str
    gpu_type: str
    price_class: PriceClass


def platform_lines(rows: Iterable[GpuRow], prices: PriceTable) -> tuple[PlatformLine, ...]:
    """Return one line for each kind, pool and kind of GPU, valued at the prices of each day.

    Time before the price table begins has no value.

    Args:
        rows: GPU time that was idle, unmeasured or late, and what customers used that are not
            billed.
        prices: The price table.

    Raises:
        BillingError: A pool has no price, or GPU time is negative.
    """
    grouped: defaultdict[_Key, defaultdict[dt.date | None, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    for row in rows:
        kind = "unbilled" if row.kind == "used" else row.kind
        key = _Key(kind, row.pool, row.gpu_type, row.price_class)
        period = None if row.day < prices.begins else prices.at(row.day).from_day
        grouped[key][period] += gpu_time(row)
    return tuple(_line(key, grouped[key], prices) for key in sorted(grouped))


def _line(key: _Key, by_period: dict[dt.date | None, int], prices: PriceTable) -> PlatformLine:
    amounts = (
        gpu_amount(gpu_ms, prices.at(day).pool(key.pool).gpu_hour)
        for day, gpu_ms in by_period.items()
        if day is not None
    )
    return PlatformLine(**key._asdict(), gpu_ms=sum(by_period.values()), amount=money.add(amounts))
