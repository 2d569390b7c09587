"""Bifrost's configuration file: what it says, and what it can never say."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.bifrost.gateway import (
    FallBack,
    Limits,
    gateway_file,
    key_variable,
    price_sheet,
    provider_of,
)
from serving.bifrost.schema import GatewayFile, ProvidersFile, to_json_data
from tests.gateway.plans import STORE, plan, split

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "bifrost.md"
CUSTOMERS = {
    "customer-bank-A": Limits(max_usd=Decimal(2500), requests_per_minute=600),
    "customer-insurance-C": Limits(tokens_per_hour=2_000_000),
}

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,30}", fullmatch=True).filter(
    lambda name: name != "default"
)
limits = st.builds(
    Limits,
    max_usd=st.none() | st.decimals("0.01", "1e6", places=2),
    requests_per_minute=st.none() | st.integers(1, 10**6),
    tokens_per_hour=st.none() | st.integers(1, 10**9),
)


def _full() -> dict[str, Any]:
    everybody = Limits(max_usd=Decimal(100), requests_per_minute=60)
    whole = plan(split("0.7", "0.3"), CUSTOMERS, store=STORE, everybody_else=everybody)
    return to_json_data(gateway_file(whole))


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """Every key and string below a value."""
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str):
                yield key, each
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def test_each_pool_is_a_provider_of_its_own_that_never_tries_again() -> None:
    file = _full()
    assert set(file["providers"]) == {"vllm-slm", "vllm-llm"}
    for name, provider in file["providers"].items():
        network = provider["network_config"]
        assert network["base_url"] == f"http://{name}-svc.agentic-serving.svc.cluster.local:8000"
        assert network["max_retries"] == 0
        assert network["allow_private_network"] is True
        assert provider["custom_provider_config"]["base_provider_type"] == "openai"
    assert (file["version"], file["source_of_truth"]) == (2, "config.json")
    assert file["client"]["enforce_auth_on_inference"] is True
    assert file["client"]["allow_direct_keys"] is False
    assert file["plugins"] == []


def test_prompts_are_logged_nowhere() -> None:
    file = _full()
    assert file["logs_store"] == {"enabled": False}
    assert file["client"]["enable_logging"] is False
    assert file["client"]["disable_content_logging"] is True


def test_limits_belong_to_customers_and_to_the_key_of_everybody_else() -> None:
    governance = _full()["governance"]
    owners = {
        budget["max_limit"]: budget.get("customer_id") or budget.get("virtual_key_id")
        for budget in governance["budgets"]
    }
    assert owners == {2500: "customer-customer-bank-A", 100: "key-default"}
    keys = {key["name"]: key for key in governance["virtual_keys"]}
    assert set(keys) == {*CUSTOMERS, "default"}
    for name in CUSTOMERS:
        assert keys[name]["customer_id"] == f"customer-{name}"
    limits_of = {each["name"]: each["rate_limit_id"] for each in governance["customers"]}
    by_id = {each["id"]: each for each in governance["rate_limits"]}
    assert by_id[limits_of["customer-bank-A"]]["request_max_limit"] == 600
    assert by_id[limits_of["customer-insurance-C"]]["token_max_limit"] == 2_000_000
    assert by_id[keys["default"]["rate_limit_id"]]["request_max_limit"] == 60


def test_prices_are_those_of_the_table_for_one_token() -> None:
    file = _full()
    sheet = price_sheet(plan())
    for override in file["governance"]["pricing_overrides"]:
        assert (override["match_type"], override["pattern"]) == ("wildcard", "*")
        patch = json.loads(override["pricing_patch"])
        per_million = {"vllm-slm": (0.2, 0.8, 0.05), "vllm-llm": (3, 12, 0.75)}
        wanted = per_million[override["provider_id"]]
        found = [
            patch["input_cost_per_token"] * 1e6,
            patch["output_cost_per_token"] * 1e6,
            patch["cache_read_input_token_cost"] * 1e6,
        ]
        assert found == pytest.approx(wanted)
        (entry,) = (e for e in sheet.values() if e["provider"] == override["provider_id"])
        assert patch.items() <= entry.items()


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(ids, limits, max_size=8), limits)
def test_every_file_is_whole_and_holds_no_secret(
    customers: dict[str, Limits], everybody: Limits
) -> None:
    file = gateway_file(plan(None, customers, store=STORE, everybody_else=everybody))
    data = to_json_data(file)
    # What is written is what is meant: reading it back gives the same file.
    assert to_json_data(GatewayFile.model_validate(json.loads(json.dumps(data)))) == data
    for key, value in _strings(data):
        if key in {"value", "password", "encryption_key"}:
            assert value == "dummy" or re.fullmatch(r"env\.[A-Za-z_][A-Za-z0-9_]*", value)
    variables = [key_variable(name) for name in (*customers, "default")]
    assert len(set(variables)) == len(variables)
    assert len(data["governance"]["virtual_keys"]) == len(customers) + 1


Change = Callable[[dict[str, Any]], object]
_WRONG: dict[str, tuple[Change, str]] = {
    "misspelt field": (lambda f: f["client"].update(enforce_auth=True), "Extra inputs"),
    "secret in the file": (
        lambda f: f["governance"]["virtual_keys"][0].update(value="sk-bf-1234"),
        "String should match",
    ),
    "weights": (
        lambda f: f["governance"]["routing_rules"][0]["targets"][0].update(weight=0.6),
        r"weights of targets sum to 0\.9, not to 1",
    ),
    "budget of nobody": (
        lambda f: f["governance"]["budgets"][0].pop("customer_id"),
        "name one owner",
    ),
    "budget of two": (
        lambda f: f["governance"]["budgets"][0].update(virtual_key_id="key-default"),
        "name one owner",
    ),
    "unknown customer": (
        lambda f: f["governance"]["virtual_keys"][0].update(customer_id="customer-x"),
        "customer 'customer-x' does not exist",
    ),
    "unknown provider": (
        lambda f: f["governance"]["routing_rules"][0]["targets"][0].update(provider="openai"),
        "provider 'openai' does not exist",
    ),
    "unknown fallback": (
        lambda f: f["governance"]["routing_rules"][0].update(fallbacks=["openai/gpt"]),
        "fallback 'openai' does not exist",
    ),
    "empty expression": (
        lambda f: f["governance"]["routing_rules"][0].update(cel_expression=""),
        "at least 1 character",
    ),
    "limit without a time": (
        lambda f: f["governance"]["rate_limits"][0].pop("request_reset_duration"),
        "go together",
    ),
    "wildcard": (
        lambda f: f["governance"]["pricing_overrides"][0].update(pattern="*-8b"),
        "a wildcard ends with its one",
    ),
    "all models by an empty list": (
        lambda f: f["providers"]["vllm-slm"]["keys"][0].update(models=[]),
        "at least 1 item",
    ),
    "base URL with a path": (
        lambda f: f["providers"]["vllm-slm"]["network_config"].update(base_url="http://x:1/v1"),
        "String should match",
    ),
    "prices from the internet": (
        lambda f: f["framework"]["pricing"].update(pricing_url="https://example.com/x"),
        "String should match",
    ),
    "database in the clear": (
        lambda f: f["config_store"]["config"].update(ssl_mode="disable"),
        "Input should be",
    ),
    "twice": (
        lambda f: f["governance"]["virtual_keys"].append(f["governance"]["virtual_keys"][0]),
        "is there twice",
    ),
}


@pytest.mark.parametrize("case", _WRONG)
def test_what_the_reference_forbids_is_refused(case: str) -> None:
    change, message = _WRONG[case]
    file = _full()
    GatewayFile.model_validate(file)
    change(file)
    with pytest.raises(ValidationError, match=message):
        GatewayFile.model_validate(file)


def test_the_document_shows_what_is_rendered() -> None:
    guides, ours = (
        json.loads(block)
        for block in re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    )
    assert to_json_data(ProvidersFile.model_validate(guides)) == guides
    rendered = to_json_data(gateway_file(plan(split("0.7", "0.3"))))
    shown = {
        "providers": {
            name: {"network_config": {"base_url": each["network_config"]["base_url"]}}
            for name, each in rendered["providers"].items()
        },
        "governance": {"routing_rules": rendered["governance"]["routing_rules"]},
    }
    assert ours == shown


def test_a_slow_first_token_goes_to_the_other_pool() -> None:
    file = to_json_data(gateway_file(plan(FallBack(pool="llm", first_token_ms=8000))))
    (rule,) = file["governance"]["routing_rules"]
    (target,) = rule["targets"]
    assert (target["provider"], target["ttft_timeout_ms"]) == (provider_of("slm"), 8000)
    assert rule["fallbacks"] == ["vllm-llm/glm5"]
