"""Alerts are complete, and each has a runbook."""

import re
from collections.abc import Iterator

import pytest
import yaml

from observability.alerts import alert_rules
from observability.export import rules
from observability.rules import RUNBOOKS, AlertRule
from serving.billing.prices import read_prices
from stacks.paths import ROOT

_DURATION = re.compile(r"\d+[smhd]")
_SEVERITIES = {"critical", "warning"}


def _alerts() -> Iterator[AlertRule]:
    for group in alert_rules():
        for rule in group.rules:
            assert isinstance(rule, AlertRule)
            yield rule


def _sections() -> dict[str, str]:
    """Text of each section of the runbooks by the anchor that a browser jumps to."""
    parts = re.split(r"^## (.+)$", (ROOT / RUNBOOKS).read_text(), flags=re.MULTILINE)
    return {title.lower(): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(_sections()) == sorted(alert.runbook.split("#")[1] for alert in _alerts())


def test_every_runbook_says_what_it_means_what_to_do_and_when_it_is_over() -> None:
    for anchor, text in _sections().items():
        assert "**Means:**" in text, anchor
        assert "\n1. " in text, anchor
        assert "**Over when**" in text, anchor


def test_links_between_runbooks_lead_somewhere() -> None:
    linked = set(re.findall(r"\(#([a-z]+)\)", (ROOT / RUNBOOKS).read_text()))
    assert linked <= set(_sections())
    assert linked


def test_every_alert_is_complete() -> None:
    names = [alert.name for alert in _alerts()]
    assert len(set(names)) == len(names)
    for alert in _alerts():
        assert re.fullmatch(r"([A-Z][a-z]+)+", alert.name)
        assert _DURATION.fullmatch(alert.wait), alert.name
        assert alert.severity in _SEVERITIES
        assert alert.summary, alert.name
        assert "\n" not in alert.summary, alert.name
        assert alert.description.endswith("."), alert.name


def test_the_rule_file_is_the_same_after_yaml() -> None:
    made = rules(read_prices(ROOT / "stacks" / "prices.yaml"))
    assert yaml.safe_load(yaml.safe_dump(made)) == made


@pytest.mark.parametrize(
    "topic",
    [
        "router_requests",
        "router_ledger",
        "router_traces_dropped",
        "pipeline_ledger_shipped",
        "billing-reconciliation",
        "vllm:kv_cache_usage",
        "adapter_sync_adapter",
        "unschedulable",
        "pipeline_billing_closed",
    ],
)
def test_what_can_go_wrong_has_an_alert(topic: str) -> None:
    recorded = "namespace:" + topic
    assert any(topic in alert.expr or recorded in alert.expr for alert in _alerts())
