"""Charts by pool; a pool has the same colour on all pages of a statement. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from serving.billing import months
from serving.billing.pages.charts import Chart, Share, by_day, pool_colour, whole
from serving.billing.pages.formats import month_name, tenths
from serving.billing.statement import DayTotal, Statement

_FIRST_POOLS = ("slm", "llm")


def pool_order(statement: Statement) -> tuple[str, ...]:
    """Return all pools of a statement, from the bottom of a bar up."""
    found = {day.pool for day in statement.days}
    found.update(pool for invoice in statement.invoices for pool in invoice.pool_requests)
    first = [pool for pool in _FIRST_POOLS if pool in found]
    return (*first, *sorted(found.difference(first)))


def daily_charts(month: str, pools: Sequence[str], days: Iterable[DayTotal]) -> tuple[Chart, ...]:
    """Draw the requests and tokens of each day; no chart for what is zero."""
    days = tuple(days)
    axis = f"{month_name(month)}, days in UTC"
    wanted: tuple[tuple[str, str, Callable[[DayTotal], int]], ...] = (
        ("requests", "Requests a day by pool", lambda day: day.counts.requests),
        (
            "tokens",
            "Tokens a day by pool, in and out",
            lambda day: day.counts.input_tokens + day.counts.output_tokens,
        ),
    )
    return tuple(
        chart
        for name, title, of in wanted
        for chart in by_day(name, title, axis, _series(month, days, pools, of))
    )


def gpu_chart(month: str, pools: Sequence[str], days: Iterable[DayTotal]) -> tuple[Chart, ...]:
    """Draw the GPU time that customers used on each day, in seconds."""
    axis = f"{month_name(month)}, days in UTC"
    series = _series(month, days, pools, lambda day: day.gpu_ms // 1000)
    return by_day("gpu-time", "GPU seconds a day that customers used, by pool", axis, series)


def split_chart(pools: Sequence[str], requests: Mapping[str, int]) -> tuple[Chart, ...]:
    """Draw how many of some requests each pool answered."""
    numbers = [requests.get(pool, 0) for pool in pools]
    parts = [
        Share(pool, number, share, pool_colour(place))
        for place, (pool, number, share) in enumerate(
            zip(pools, numbers, tenths(numbers), strict=True)
        )
        if number
    ]
    return whole("split", "Requests by pool", parts)


def _series(
    month: str, days: Iterable[DayTotal], pools: Sequence[str], of: Callable[[DayTotal], int]
) -> dict[str, list[int]]:
    place = {day: index for index, day in enumerate(months.days(month))}
    series = {pool: [0] * len(place) for pool in pools}
    for day in days:
        series[day.pool][place[day.day]] += of(day)
    return series
