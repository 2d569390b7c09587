"""Dashboards are what Grafana takes: by the SDK's own types, and by rules of the layout."""

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.export import dashboard_texts

TEXTS = dashboard_texts("USD")
_COLUMNS = 24


@pytest.fixture(params=TEXTS)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(TEXTS[request.param])
    return made


def test_the_types_of_grafana_read_back_what_was_written(board: dict[str, Any]) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board


def test_panels_have_distinct_ids_and_queries_distinct_letters(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(letters)) == len(letters)


def test_panels_do_not_overlap_or_leave_the_page(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= _COLUMNS, panel["title"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_says_what_it_shows_in_which_unit(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        if panel["type"] in {"row", "text"}:
            continue
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        units = [panel["fieldConfig"]["defaults"].get("unit")] + [
            value["value"]
            for override in panel["fieldConfig"]["overrides"]
            for value in override["properties"]
            if value["id"] == "unit"
        ]
        assert any(units), panel["title"]


def test_every_panel_reads_from_the_source_that_the_reader_chose(board: dict[str, Any]) -> None:
    panels = [panel for panel in board["panels"] if panel["type"] not in {"row", "text"}]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}


def test_columns_of_tables_are_named_after_their_queries(board: dict[str, Any]) -> None:
    for panel in board["panels"]:
        if panel["type"] != "table":
            continue
        named = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
        letters = [target["refId"] for target in panel["targets"]]
        expected = [f"Value #{letter}" for letter in letters] if len(letters) > 1 else ["Value"]
        assert named == expected
        assert all(target["instant"] for target in panel["targets"])


def test_generating_twice_gives_the_same_bytes() -> None:
    assert dashboard_texts("USD") == TEXTS


def test_costs_are_called_estimates_wherever_they_are_shown() -> None:
    panels = [panel for text in TEXTS.values() for panel in json.loads(text)["panels"]]
    costs = [panel for panel in panels if "currency:USD" in json.dumps(panel)]
    assert len(costs) == 3
    for panel in costs:
        assert "estimated cost" in json.dumps(panel).lower()
    notes = [panel["options"]["content"] for panel in panels if panel["type"] == "text"]
    assert any("Costs here are estimates" in note and "pipeline bill" in note for note in notes)
