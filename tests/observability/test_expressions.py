"""No dashboard and no rule names a metric or label that nobody emits."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pytest

from observability.alerts import alert_rules
from observability.export import dashboard_texts
from observability.recording import recording_rules
from observability.rules import AlertRule
from serving.billing.prices import PriceTable
from tests.observability.emitted import TARGET_LABELS, Emitted, everything
from tests.observability.promql import Expression, PromqlError, read

_VARIABLE = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
_TEMPLATE = re.compile(r"\$labels\.(\w+)")


def price_table(*periods: Mapping[str, Any]) -> PriceTable:
    return PriceTable.model_validate({"currency": "USD", "prices": list(periods)})


PRICES = price_table(
    {
        "from": date(2026, 1, 1),
        "pools": {
            "slm": {"input": "0.20", "cached_input": "0.05", "output": "0.80"},
            "llm": {"input": "3.00", "cached_input": "0.75", "output": "12.00"},
        },
    }
)


def known() -> dict[str, Emitted]:
    """What is emitted, and what the recording rules make of it."""
    found = dict(everything())
    for rule in recording_rules(PRICES).rules:
        assert not isinstance(rule, AlertRule)
        by = read(rule.expr).by
        labels = (by[0] if by else frozenset()) | frozenset(rule.labels)
        found[rule.record] = Emitted("gauge", labels)
    return found


def dashboard_queries() -> Iterator[tuple[str, str]]:
    for uid, text in dashboard_texts("USD").items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield f"{uid}: {panel['title']}: {target['refId']}", target["expr"]


def rule_queries() -> Iterator[tuple[str, str]]:
    for group in (recording_rules(PRICES), *alert_rules()):
        for rule in group.rules:
            name = rule.name if isinstance(rule, AlertRule) else f"{rule.record}{rule.labels}"
            yield f"{group.name}: {name}", rule.expr


QUERIES = dict([*dashboard_queries(), *rule_queries()])


@pytest.mark.parametrize("place", QUERIES)
def test_every_metric_is_emitted_and_used_as_what_it_is(place: str) -> None:
    expr, emitted = QUERIES[place], known()
    for selector in read(expr).selectors:
        assert selector.metric in emitted, f"{selector.metric} is emitted by nobody"
        kind = emitted[selector.metric].kind
        rises = kind in {"counter", "histogram"}
        ranged_gauge = selector.ranged and "avg_over_time" in expr
        assert selector.ranged == (rises or ranged_gauge), f"{selector.metric} is a {kind}: {expr}"


@pytest.mark.parametrize("place", QUERIES)
def test_every_label_is_on_the_metrics(place: str) -> None:
    found, emitted = read(QUERIES[place]), known()
    for selector in found.selectors:
        labels = emitted[selector.metric].labels | TARGET_LABELS
        assert selector.labels <= labels, f"{selector.metric} has {sorted(labels)}"
    assert found.grouped <= _labels(found, emitted), f"grouped by what no metric has: {place}"


def _labels(found: Expression, emitted: Mapping[str, Emitted]) -> frozenset[str]:
    return TARGET_LABELS.union(*(emitted[each.metric].labels for each in found.selectors))


def test_every_choice_of_a_dashboard_comes_from_a_label_that_exists() -> None:
    emitted, choices = known(), 0
    for text in dashboard_texts("USD").values():
        for variable in json.loads(text)["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query = _VARIABLE.fullmatch(variable["query"])
            assert query is not None, variable["query"]
            (selector,) = read(query["selector"]).selectors
            assert query["label"] in emitted[selector.metric].labels | TARGET_LABELS
            choices += 1
    assert choices >= 5


def test_every_variable_that_a_panel_uses_is_one_of_its_dashboard() -> None:
    built_in = {"__rate_interval", "__range"}
    for uid, text in dashboard_texts("USD").items():
        board = json.loads(text)
        names = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(board["panels"])))
        assert used <= names | built_in, uid
        assert names <= used, f"{uid}: nobody uses {names - used}"


def test_templates_of_alerts_name_labels_that_the_alert_has() -> None:
    emitted = known()
    for group in alert_rules():
        for rule in group.rules:
            assert isinstance(rule, AlertRule)
            found = read(rule.expr)
            has = found.by[0] if found.by else _labels(found, emitted)
            wanted = set(_TEMPLATE.findall(rule.summary + rule.description))
            assert wanted <= has | {"namespace"}, rule.name


def test_legends_name_labels_that_the_series_have() -> None:
    for uid, text in dashboard_texts("USD").items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                by = read(target["expr"]).by
                assert wanted <= (by[0] if by else frozenset()), f"{uid}: {panel['title']}"


@pytest.mark.parametrize(
    "expr",
    [
        "sum by (pool) (rate(router_requests_total[5m])",
        "rate(router_requests_total[5 minutes])",
        "summ(router_in_flight)",
        "sum by pool (router_in_flight)",
        "router_in_flight & 1",
    ],
)
def test_the_reader_refuses_what_is_no_promql(expr: str) -> None:
    with pytest.raises(PromqlError):
        read(expr)


def test_the_reader_finds_metrics_labels_and_ranges() -> None:
    found = read('sum by (a, b) (rate(x_total{c="d e",f=~"g"}[5m])) / on (a) y unless z{h!=""}')
    assert [(s.metric, set(s.labels), s.ranged) for s in found.selectors] == [
        ("x_total", {"c", "f"}, True),
        ("y", set(), False),
        ("z", {"h"}, False),
    ]
    assert (found.grouped, found.by) == ({"a", "b"}, [frozenset({"a", "b"})])
