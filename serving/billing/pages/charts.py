"""Charts of a page. Floats set heights and widths only; numbers in words are exact."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.typing import RcKeyType

from serving.billing import money
from serving.billing.pages.formats import amount_text, count, percent, printable
from serving.billing.pages.svg import inline_svg

WIDTH_IN: Final = 4.4
"""Two charts side by side fill a desktop page or a sheet of A4, one fills a phone."""
MOST_BARS: Final = 10
INK: Final = "#16202a"
SOFT: Final = "#51606d"
FAINT: Final = "#9aa7b2"
GRID: Final = "#d5dbe0"
# Apart in lightness as well as in hue: they differ in print without colour, and for every eye.
POOL_COLOURS: Final = ("#1f4e79", "#e5a037", "#7fb2d6", "#8a4b12")
SHARE_COLOURS: Final = ("#12355b", "#2f6690", "#5b92b8", "#94bcd6", "#c9dfec", "#e5a037")
_ROW_CHARACTERS: Final = 46
_SETTINGS: Final[dict[RcKeyType, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "custom-model-pipeline",
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True)
class Chart:
    """A drawn chart."""

    title: str
    svg: str


@dataclass(frozen=True)
class Share:
    """One part of a whole."""

    label: str
    value: int
    tenths: int
    """The value's share in tenths of a per cent."""
    colour: str
    hatch: str = ""
    """matplotlib's pattern, for a part that belongs to nobody."""


def pool_colour(place: int) -> str:
    """Colour of the pool at a place of the statement's pools."""
    return POOL_COLOURS[place % len(POOL_COLOURS)]


def by_day(
    name: str, title: str, axis: str, series: Mapping[str, Sequence[int]]
) -> tuple[Chart, ...]:
    """Draw stacked bars for the days of a month.

    Args:
        name: Id of the chart in its page.
        title: What a bar counts.
        axis: Label of the days.
        series: For each pool, from the bottom up, one number a day from the first day on.

    Returns:
        One chart, or none when there is nothing to draw.
    """
    totals = [sum(numbers) for numbers in zip(*series.values(), strict=True)]
    if not any(totals):
        return ()
    highest = max(range(len(totals)), key=totals.__getitem__)
    by_pool = ", ".join(f"{pool} {count(sum(numbers))}" for pool, numbers in series.items())
    description = (
        f"{axis}: {count(sum(totals))} in all ({by_pool}); "
        f"most on day {highest + 1} with {count(totals[highest])}."
    )
    with _settings():
        figure = Figure(figsize=(WIDTH_IN, 2.4))
        axes = figure.add_axes((0.13, 0.2, 0.86, 0.65))
        _stack(axes, series)
        _day_axes(axes, len(totals), max(totals), axis)
        return (Chart(title, inline_svg(figure, name, title, description)),)


def ranking(
    name: str, title: str, values: Mapping[str, Decimal], currency: str
) -> tuple[Chart, ...]:
    """Draw one bar for each amount above zero, the highest first; small ones share the last bar.

    Returns:
        One chart, or none when no amount is above zero.
    """
    above = [(label, value) for label, value in values.items() if value > 0]
    bars = sorted(above, key=lambda item: (-item[1], item[0]))
    if len(bars) > MOST_BARS:
        rest = bars[MOST_BARS - 1 :]
        bars = [*bars[: MOST_BARS - 1], (f"{len(rest)} others", money.add(v for _, v in rest))]
    if not bars:
        return ()
    texts = [f"{amount_text(money.round_due(value))} {currency}" for _, value in bars]
    description = "; ".join(f"{bar[0]} {text}" for bar, text in zip(bars, texts, strict=True)) + "."
    with _settings():
        figure, axes = _plain_axes(rows=len(bars), row_in=0.44)
        widest = float(max(value for _, value in bars))
        for row, ((label, value), text) in enumerate(zip(bars, texts, strict=True)):
            axes.add_patch(_bar(0, row + 0.48, float(value) / widest, 0.3, POOL_COLOURS[0]))
            axes.text(0, row + 0.38, _short(label, _ROW_CHARACTERS - len(text)))
            axes.text(1, row + 0.38, text, ha="right")
        return (Chart(title, inline_svg(figure, name, title, description)),)


def whole(name: str, title: str, parts: Sequence[Share]) -> tuple[Chart, ...]:
    """Draw one bar of parts that add up to 100 %, with its legend.

    Returns:
        One chart, or none when all parts are zero.
    """
    total = sum(part.value for part in parts)
    if not total:
        return ()
    description = "; ".join(f"{part.label} {percent(part.tenths)}" for part in parts) + "."
    with _settings():
        figure, axes = _plain_axes(rows=len(parts) + 2, row_in=0.23)
        left = 0.0
        for row, part in enumerate(parts, start=2):
            axes.add_patch(_bar(left, 0.1, part.value / total, 1.3, part.colour, part.hatch))
            axes.add_patch(_bar(0, row + 0.2, 0.04, 0.6, part.colour, part.hatch))
            axes.text(0.06, row + 0.72, _short(part.label, _ROW_CHARACTERS - 10))
            axes.text(1, row + 0.72, percent(part.tenths), ha="right")
            left += part.value / total
        return (Chart(title, inline_svg(figure, name, title, description)),)


@contextmanager
def _settings() -> Iterator[None]:
    # From matplotlib's own defaults, so that no file of a user or a machine changes a page.
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def _stack(axes: Axes, series: Mapping[str, Sequence[int]]) -> None:
    """Draw the bars of each pool as one path: a page of hundreds of bars stays small."""
    below = [0] * len(next(iter(series.values())))
    for place, numbers in enumerate(series.values()):
        bars = [
            _rectangle(day + 0.6, bottom, 0.8, number)
            for day, (bottom, number) in enumerate(zip(below, numbers, strict=True))
            if number
        ]
        if bars:
            colour = pool_colour(place)
            axes.add_patch(
                PathPatch(Path.make_compound_path(*bars), facecolor=colour, edgecolor="none")
            )
        below = [bottom + number for bottom, number in zip(below, numbers, strict=True)]
    axes.legend(
        handles=[
            Patch(color=pool_colour(place), label=_short(pool, 12))
            for place, pool in enumerate(series)
        ],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(series),
        frameon=False,
        handlelength=0.9,
        handleheight=0.9,
        borderpad=0.2,
        columnspacing=1.4,
    )


def _rectangle(left: float, bottom: float, width: float, height: float) -> Path:
    right, top = left + width, bottom + height
    return Path(
        [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)], closed=True
    )


def _day_axes(axes: Axes, days: int, highest: int, label: str) -> None:
    axes.set_xlim(0.4, days + 0.6)
    axes.set_ylim(0, highest * 1.05)
    axes.set_xticks([1, 8, 15, 22, 29] if days >= 29 else [1, 8, 15, 22, 28])
    axes.set_xlabel(label, color=SOFT)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _rough(value)))
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=SOFT)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)


def _plain_axes(rows: int, row_in: float) -> tuple[Figure, Axes]:
    """Return a figure with one unit of height for each row, counted from the top."""
    figure = Figure(figsize=(WIDTH_IN, rows * row_in))
    axes = figure.add_axes((0.004, 0, 0.992, 1))
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    return figure, axes


def _bar(
    left: float, top: float, width: float, height: float, colour: str, hatch: str = ""
) -> Rectangle:
    return Rectangle(
        (left, top),
        width,
        height,
        facecolor=colour,
        edgecolor=SOFT if hatch else "white",
        hatchcolor=FAINT,
        linewidth=0.6,
        hatch=hatch or None,
    )


def _rough(value: float) -> str:
    """Write the number of a tick short."""
    for size, suffix in ((10**9, " bn"), (10**6, " M"), (10**3, " k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _short(label: str, room: int) -> str:
    """Cut the middle out of a label of more than `room` characters: its version stands last."""
    label = printable(label)
    if len(label) <= room:
        return label
    last = room // 2
    return f"{label[: room - last - 1]}…{label[-last:]}"
