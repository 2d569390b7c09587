"""Panels and the frame of a dashboard, as every dashboard here has them."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, text
from grafana_foundation_sdk.builders import timeseries as lines
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

TAG = "custom-model-pipeline"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

_QUARTER, _HALF, _FULL = 6, 12, 24
"""Widths; a row of the grid has 24 columns."""
_STAT_HEIGHT, _HEIGHT = 4, 8

AnyPanel = Builder[model.Panel]


@dataclass(frozen=True)
class Query:
    """One expression, and how its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Column:
    """One value of a table's rows: an instant expression, a heading and a unit."""

    expr: str
    heading: str
    unit: str


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[AnyPanel]


def number(title: str, description: str, unit: str, expr: str) -> AnyPanel:
    """The current value, large, with its recent course."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("-")
        .graph_mode(BigValueGraphMode.AREA)
        .thresholds(_no_colours())
        .height(_STAT_HEIGHT)
        .span(_QUARTER)
        .with_target(_target(0, Query(expr, title)))
    )


def series(title: str, description: str, unit: str, *queries: Query) -> AnyPanel:
    """Lines over time, half as wide as the page."""
    panel = (
        lines.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .thresholds(_no_colours())
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .height(_HEIGHT)
        .span(_HALF)
    )
    for index, query in enumerate(queries):
        panel = panel.with_target(_target(index, query))
    return panel


def rows_of(title: str, description: str, columns: Sequence[Column]) -> AnyPanel:
    """A table of current values: one row for each set of labels that the columns share."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .no_value("-")
        .thresholds(_no_colours())
        .show_header(show_header=True)
        .height(_HEIGHT)
        .span(_FULL)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize", options={"excludeByName": {"Time": True}}
            )
        )
    )
    for index, column in enumerate(columns):
        target = _target(index, Query(column.expr, "")).instant().format(PromQueryFormat.TABLE)
        panel = panel.with_target(target).override_by_name(
            # Grafana calls the values of one query "Value", and those of several by their letter.
            f"Value #{_letter(index)}" if len(columns) > 1 else "Value",
            [
                model.DynamicConfigValue(id_val="displayName", value=column.heading),
                model.DynamicConfigValue(id_val="unit", value=column.unit),
            ],
        )
    return panel


def note(markdown: str) -> AnyPanel:
    """Text over the whole width: what the reader must know to read the rest."""
    return text.Panel().mode(TextMode.MARKDOWN).content(markdown).height(3).span(_FULL)


def board(
    uid: str, title: str, description: str, rows: Sequence[Row], *variables: str
) -> model.Dashboard:
    """A dashboard.

    Args:
        uid: Its name in URLs.
        title: Its heading.
        description: What it is for.
        rows: Its panels.
        variables: Labels of `router_requests_total` that the reader may choose values of.
    """
    builder = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone("utc")
        .refresh("1m")
        .time("now-6h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_other_dashboards())
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(_choice("namespace", "label_values(router_in_flight, namespace)"))
    )
    for label in variables:
        query = f'label_values(router_requests_total{{namespace=~"$namespace"}}, {label})'
        builder = builder.with_variable(_choice(label, query))
    for row in rows:
        builder = builder.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            builder = builder.with_panel(panel)
    return _numbered(builder.build())


def _other_dashboards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Other dashboards of the pipeline")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=True)
        .keep_time(keep_time=True)
        .include_vars(include_vars=True)
    )


def _numbered(made: model.Dashboard) -> model.Dashboard:
    for index, panel in enumerate(made.panels or [], start=1):
        panel.id_val = index
    return made


def _choice(label: str, query: str) -> dashboard.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        # Also matches series that have no such label.
        .all_value(".*")
        .current(everything)
    )


def _target(index: int, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(_letter(index))
    )


def _letter(index: int) -> str:
    return string.ascii_uppercase[index]


def _no_colours() -> dashboard.ThresholdsConfig:
    # Grafana's default turns red at 80, whatever the unit; alerts say what is bad.
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=None, color="text")])
    )
