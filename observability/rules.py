"""Prometheus rules as data, and the rule file that they become."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RUNBOOKS = "docs/runbooks.md"

Severity = Literal["critical", "warning"]
"""`critical` wakes somebody: requests fail or money may be lost. `warning` waits for the day."""


@dataclass(frozen=True, kw_only=True)
class RecordingRule:
    """A series computed at each evaluation."""

    record: str
    """`level:metric:operation`, as the Prometheus documentation names them."""
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.record, "expr": self.expr, **labels}


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """A condition that somebody must act on, and where it says how."""

    name: str
    expr: str
    wait: str
    """How long the condition must hold, such as `10m`."""
    severity: Severity
    summary: str
    """One line; Prometheus templates such as `{{ $labels.pod }}` are filled in."""
    description: str
    """What it means for customers or money."""

    @property
    def runbook(self) -> str:
        """Where the steps are."""
        return f"{RUNBOOKS}#{self.name.lower()}"

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.wait,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": self.runbook,
            },
        }


@dataclass(frozen=True, kw_only=True)
class RuleGroup:
    """Rules that are evaluated in order, together."""

    name: str
    rules: tuple[RecordingRule | AlertRule, ...]
    interval: str = "30s"

    def rendered(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        rules = [rule.rendered() for rule in self.rules]
        return {"name": self.name, "interval": self.interval, "rules": rules}


def rule_file(groups: Iterable[RuleGroup]) -> dict[str, Any]:
    """Content of a Prometheus rule file, which is also the `spec` of a PrometheusRule."""
    return {"groups": [group.rendered() for group in groups]}
