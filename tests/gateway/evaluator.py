"""What Bifrost does with a request, after its documentation: a second reading of the file.

It works on the JSON, knows nothing of the models that rendered it, and differs from Bifrost in what
it leaves out: budgets, rate limits, health of keys, chained rules, scopes other than global. CEL is
evaluated by cel-python, Bifrost uses cel-go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import celpy
from celpy import celtypes

_STRINGS = (
    "model",
    "provider",
    "request_type",
    "virtual_key_id",
    "virtual_key_name",
    "team_id",
    "team_name",
    "customer_id",
    "customer_name",
)


@dataclass(frozen=True)
class Request:
    """What a rule can look at; `model` as a client of Bifrost writes it: provider/model."""

    model: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """Of CEL."""
        provider, _, model = self.model.partition("/")
        known = {"provider": provider, "model": model, "request_type": "chat_completion"}
        values: dict[str, Any] = {
            name: celtypes.StringType(known.get(name, "")) for name in _STRINGS
        }
        values["headers"] = celtypes.MapType(
            {
                celtypes.StringType(k.lower()): celtypes.StringType(v)
                for k, v in self.headers.items()
            }
        )
        return values


def holds(expression: str, request: Request) -> bool:
    """Evaluate a rule's expression; one that cannot be evaluated holds for nothing."""
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return bool(program.evaluate(request.variables))


def attempts(file: Mapping[str, Any], request: Request, draw: Fraction) -> list[str]:
    """Return the `provider/model` that are tried, in order.

    Args:
        file: The configuration.
        request: The request.
        draw: The random number, at least 0 and below 1.
    """
    rules = sorted(file["governance"]["routing_rules"], key=lambda rule: rule["priority"])
    for rule in rules:
        if rule["enabled"] and holds(rule["cel_expression"], request):
            target = _drawn(rule["targets"], draw)
            asked = request.model.partition("/")[2]
            return [f"{target['provider']}/{target.get('model', asked)}", *rule["fallbacks"]]
    return [request.model]


def key_for(provider: Mapping[str, Any], model: str, draw: Fraction) -> str:
    """Return the name of the key that is drawn among those that allow the model."""
    able = [key for key in provider["keys"] if model in key["models"] or key["models"] == ["*"]]
    return str(_drawn(able, draw)["name"])


def _drawn(entries: Sequence[Mapping[str, Any]], draw: Fraction) -> Mapping[str, Any]:
    weights = [Fraction(str(entry["weight"])) for entry in entries]
    left = draw * sum(weights)
    for entry, weight in zip(entries, weights, strict=True):
        if left < weight:
            return entry
        left -= weight
    raise AssertionError("no entry was drawn")
