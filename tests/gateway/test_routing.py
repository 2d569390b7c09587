"""Where requests go, by a second reading of the file: CEL, shares, fallbacks, keys."""

import json
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import celpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bifrost.gateway import FallBack, Split, gateway_file
from serving.bifrost.schema import to_json_data
from tests.gateway.evaluator import Request, attempts, holds, key_for
from tests.gateway.plans import plan, split
from tests.gateway.test_bifrost_file import DOCUMENT

DRAWS = 10_000
"""Shares have four decimals, so that each falls on whole draws."""
ANY = Fraction(0)


def _file(routing: FallBack | Split | None) -> dict[str, Any]:
    return to_json_data(gateway_file(plan(routing)))


def _shares(file: dict[str, Any], model: str) -> Counter[str]:
    request = Request(model)
    (rule,) = file["governance"]["routing_rules"]
    # The expression does not depend on the draw: it is evaluated once.
    rule["cel_expression"] = "true" if holds(rule["cel_expression"], request) else "false"
    return Counter(
        attempts(file, request, Fraction(draw, DRAWS))[0] for draw in range(0, DRAWS, 100)
    )


def test_without_rules_a_request_goes_where_the_router_sends_it() -> None:
    for model in ("vllm-slm/llama-8b", "vllm-llm/bank-ledger-v1.2", "vllm-slm/meta/Llama-8B"):
        assert attempts(_file(None), Request(model), ANY) == [model]


@pytest.mark.parametrize("asked", ["vllm-slm/llama-8b", "vllm-llm/glm5", "vllm-slm/glm5"])
def test_the_guides_split_holds_whichever_pool_was_asked(asked: str) -> None:
    shares = _shares(_file(split("0.7", "0.3")), asked)
    assert shares == {"vllm-slm/llama-8b": 70, "vllm-llm/glm5": 30}


@pytest.mark.parametrize("asked", ["vllm-slm/bank-ledger-v1.2", "vllm-llm/llama-8b-v1.0"])
def test_adapters_are_never_split(asked: str) -> None:
    assert _shares(_file(split("0.7", "0.3")), asked) == {asked: 100}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, DRAWS))
def test_every_split_is_drawn_as_it_is_written(slm: int) -> None:
    share = Decimal(slm) / DRAWS
    (rule,) = _file(Split(shares={"slm": share, "llm": 1 - share}))["governance"]["routing_rules"]
    weights = {target["provider"]: target["weight"] for target in rule["targets"]}
    assert sum(Fraction(str(weight)) for weight in weights.values()) == 1
    assert Fraction(str(weights.get("vllm-slm", 0))) == Fraction(slm, DRAWS)
    # A pool without a share is no target: nothing can be drawn for it.
    assert 0 not in weights.values()


def test_a_pool_that_fails_is_answered_for_by_the_other_ones_base_model() -> None:
    file = _file(FallBack(pool="llm", first_token_ms=None))
    assert attempts(file, Request("vllm-slm/bank-ledger-v1.2"), ANY) == [
        "vllm-slm/bank-ledger-v1.2",
        "vllm-llm/glm5",
    ]
    assert attempts(file, Request("vllm-llm/glm5"), ANY) == ["vllm-llm/glm5"]


@pytest.mark.parametrize(
    "routing", [split("0.7", "0.3"), FallBack(pool="llm", first_token_ms=None)]
)
def test_headers_of_clients_decide_nothing(routing: FallBack | Split) -> None:
    file = _file(routing)
    (rule,) = file["governance"]["routing_rules"]
    for model in ("vllm-slm/llama-8b", "vllm-llm/bank-ledger-v1.2"):
        headers = {"x-customer-domain": "bank", "x-bf-vk": "sk-bf-x", "x-tier": "premium"}
        assert holds(rule["cel_expression"], Request(model, headers)) == holds(
            rule["cel_expression"], Request(model)
        )


def test_names_of_models_cannot_break_out_of_an_expression() -> None:
    base = plan(split("0.5", "0.5"))
    odd = 'x"] || true || model in ["y'
    pools = {**base.pools, "slm": replace(base.pools["slm"], served_base=odd)}
    file = to_json_data(gateway_file(replace(base, pools=pools)))
    (rule,) = file["governance"]["routing_rules"]
    assert holds(rule["cel_expression"], Request(f"vllm-slm/{odd}"))
    assert not holds(rule["cel_expression"], Request("vllm-slm/other"))


def test_the_evaluator_reads_cel_as_the_reference_describes_it() -> None:
    request = Request("vllm-slm/m", {"X-Customer-Domain": "bank"})
    assert holds('headers["x-customer-domain"] == "bank"', request)
    assert not holds('headers["x-customer-domain"] == "stock"', request)
    assert holds('provider == "vllm-slm" && model in ["m", "n"]', request)
    with pytest.raises(celpy.CELParseError):
        holds('model in ["m"', request)


def test_the_guides_file_splits_nothing() -> None:
    """Its two keys are for one model each, and both lead to one server."""
    (guides, _) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    provider = json.loads(guides)["providers"]["openai"]
    drawn = {
        model: {key_for(provider, model, Fraction(draw, 10)) for draw in range(10)}
        for model in ("llama-8b", "glm5")
    }
    assert drawn == {"llama-8b": {"slm"}, "glm5": {"llm"}}
    assert provider["network_config"]["base_url"] == "http://glm5-serving:8000"
    # The weights would be a split if either key took either model.
    for key in provider["keys"]:
        key["models"] = ["llama-8b", "glm5"]
    counts = Counter(key_for(provider, "glm5", Fraction(draw, 10)) for draw in range(10))
    assert counts == {"slm": 7, "llm": 3}
