"""What router and adapter-sync tell Prometheus."""

import re

import pytest
from world import RequestPath, loaded, until

from serving.router.metering import _tokens_by_kind
from serving.router.sse import Usage


async def _scrape(request_path: RequestPath) -> dict[str, float]:
    async with request_path.session.get(f"{request_path.url}/metrics") as response:
        text = await response.text()
    return {
        name: float(value)
        for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, flags=re.MULTILINE)
    }


async def test_a_request_counts_for_its_customer_and_its_adapter(request_path: RequestPath) -> None:
    key = request_path.world.domain("bank-ledger", customer="customer-bank-A")
    request_path.world.go_live("bank-ledger", "v1.2")
    await until(lambda: loaded(request_path.sync, "bank-ledger", "v1.2"), "v1.2 is loaded")
    await request_path.router.refresh()
    status, body, _ = await request_path.ask(key)
    assert status == 200
    found = await _scrape(request_path)
    tenant = 'customer="customer-bank-A",domain="bank-ledger"'
    served = 'pool="slm",served_model="bank-ledger-v1.2"'
    assert found[f'router_requests_total{{{tenant},{served},status="200"}}'] == 1
    tokens = {
        kind: found[f'router_tokens_total{{{tenant},kind="{kind}",{served}}}']
        for kind in ("input", "cached_input", "output")
    }
    usage = body["usage"]
    assert tokens["input"] + tokens["cached_input"] == usage["prompt_tokens"]
    assert tokens["output"] == usage["completion_tokens"]
    assert found[f"router_request_seconds_count{{{served}}}"] == 1
    assert found["router_ledger_healthy"] == 1


async def test_a_refused_request_makes_no_series_of_what_the_client_wrote(
    request_path: RequestPath,
) -> None:
    status, _, _ = await request_path.ask("cmp_nobody_" + "x" * 43, model="made-up")
    assert status == 401
    found = await _scrape(request_path)
    labels = 'customer="",domain="",pool="",served_model="",status="401"'
    assert found[f"router_requests_total{{{labels}}}"] == 1
    assert not any("made-up" in name or "nobody" in name for name in found)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(10, 5, 4), {"input": 6, "cached_input": 4, "output": 5}),
        (Usage(10, 5, None), {"input": 10, "cached_input": 0, "output": 5}),
        (Usage(10, 5, 11), {"input": 0, "cached_input": 10, "output": 5}),
        (Usage(-1, -1, -1), {"input": 0, "cached_input": 0, "output": 0}),
    ],
)
def test_kinds_of_tokens_add_up_and_never_fall(usage: Usage, expected: dict[str, int]) -> None:
    assert _tokens_by_kind(usage) == expected


async def test_adapter_sync_shows_the_state_of_each_adapter(request_path: RequestPath) -> None:
    request_path.world.go_live("bank-ledger", "v1.2")
    request_path.world.go_live("tax", "v1.0", base="another-base")
    await until(lambda: loaded(request_path.sync, "bank-ledger", "v1.2"), "v1.2 is loaded")
    await until(
        lambda: request_path.sync.status().adapters["tax-v1.0"].state == "failed", "tax is refused"
    )
    url = request_path.router._config.pools["slm"].servers[0].adapter_sync_url
    async with request_path.session.get(f"{url}/metrics") as response:
        text = await response.text()
    assert "adapter_sync_model_server_up 1.0" in text
    states = re.findall(
        r'adapter_sync_adapter\{domain="\S+",served_model="(\S+)",state="(\w+)"\} 1', text
    )
    assert dict(states) == {"bank-ledger-v1.2": "loaded", "tax-v1.0": "failed"}
