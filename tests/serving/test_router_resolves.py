"""Who may ask for what, through the running router."""

import asyncio
import json

import pytest
from world import GUIDE_70B, RequestPath, live, until

from serving.ledger import read_events


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "slm"},
        {"model": "llama-8b"},
        {"model": "meta-llama/Llama-3.3-8B-Instruct"},
        {"model": "bank-ledger-v1.0"},
        {"model": "slm", "lora_name": "bank-ledger"},
        {"model": "slm", "lora_name": "bank-ledger-v1.0"},
        {"model": "bank-ledger-v1.0", "lora_name": "bank-ledger"},
        {"model": GUIDE_70B, "lora_name": "bank-ledger"},
    ],
)
async def test_every_way_of_naming_the_own_release(
    request_path: RequestPath, asked: dict[str, str]
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0", header_aliases=["bank"])
    status, body, headers = await request_path.ask(
        key, headers={"X-Customer-Domain": "bank"}, **asked
    )
    assert status == 200, body
    expected = " ".join(request_path.vllm.words("bank-ledger-v1.0", 8))
    assert body["choices"][0]["message"]["content"] == expected
    assert expected != " ".join(request_path.vllm.words("llama-8b", 8))
    assert headers["X-Served-Model"] == "bank-ledger-v1.0"
    sent = request_path.vllm.requests[-1][1]
    assert "lora_name" not in sent


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"model": "platform-docs-v1.0"}, 404, "model_not_found"),
        ({"model": "nobody-v1.0"}, 404, "model_not_found"),
        ({"model": "../../etc/passwd"}, 404, "model_not_found"),
        ({"model": "/absolute/path"}, 404, "model_not_found"),
        ({"model": "bank-ledger-v9.9"}, 404, "model_not_found"),
        ({"model": GUIDE_70B}, 404, "model_not_found"),
        ({"model": "slm", "lora_name": "bank-ledger-v9.9"}, 404, "model_not_found"),
        ({"model": "slm", "lora_name": "platform-docs"}, 400, "names_disagree"),
        ({"model": "slm", "lora_name": "nobody"}, 400, "names_disagree"),
        ({"model": "slm", "lora_name": "../bank-ledger"}, 400, "names_disagree"),
        ({"model": "platform-docs-v1.0", "lora_name": "bank-ledger"}, 400, "names_disagree"),
        ({"model": ""}, 400, "invalid_value"),
        ({"model": 7}, 400, "invalid_value"),
        ({"stream": "yes"}, 400, "invalid_value"),
        ({"lora_name": ["bank-ledger"]}, 400, "invalid_value"),
    ],
)
async def test_names_that_are_refused(
    request_path: RequestPath, asked: dict[str, object], status: int, code: str
) -> None:
    await live(request_path, "platform-docs", "v1.0")
    key = await live(request_path, "bank-ledger", "v1.0")
    before = len(request_path.vllm.requests)
    answer, body, _ = await request_path.ask(key, **asked)
    assert (answer, body["error"]["code"]) == (status, code)
    assert {"message", "type", "param", "code"} == body["error"].keys()
    assert len(request_path.vllm.requests) == before, "a refused request reached the model server"


async def test_foreign_and_unknown_names_get_the_same_words(request_path: RequestPath) -> None:
    await live(request_path, "platform-docs", "v1.0")
    key = await live(request_path, "bank-ledger", "v1.0")
    _, foreign, _ = await request_path.ask(key, model="platform-docs-v1.0")
    _, unknown, _ = await request_path.ask(key, model="platform-dogs-v1.0")
    assert json.dumps(foreign).replace("platform-docs", "platform-dogs") == json.dumps(unknown)


async def test_disagreement_names_all_three(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0", header_aliases=["bank"])
    _, body, _ = await request_path.ask(
        key, headers={"X-Customer-Domain": "bank"}, model="slm", lora_name="stock-order"
    )
    for name in ("'bank'", "'slm'", "'stock-order'"):
        assert name in body["error"]["message"]


async def test_keys_and_headers(request_path: RequestPath) -> None:
    bank = await live(request_path, "bank-ledger", "v1.0")
    docs = await live(request_path, "platform-docs", "v1.0")
    header = {"X-Customer-Domain": "bank-ledger"}
    assert (await request_path.ask(None))[0] == 401
    assert (await request_path.ask("cmp_bank-ledger_wrong"))[0] == 401
    assert (await request_path.ask(docs, headers=header))[0] == 403
    assert (await request_path.ask(bank, headers={"X-Customer-Domain": "nobody"}))[0] == 404
    assert (await request_path.ask(bank, headers=header))[0] == 200
    inferred, _, headers = await request_path.ask(docs)
    assert (inferred, headers["X-Served-Model"]) == (200, "platform-docs-v1.0")


async def test_domain_without_release(request_path: RequestPath) -> None:
    key = request_path.world.domain("stock-order")
    await until(lambda: request_path.router.knows("stock-order"), "the record is read")
    status, body, headers = await request_path.ask(key)
    assert (status, body["error"]["message"]) == (
        503,
        "no release is live for domain stock-order",
    )
    assert headers["Retry-After"]


async def test_identity_and_gateway_headers_stay_behind(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    spoofed = {
        "X-Bf-Vk": "sk-bf-other",
        "x-bf-custom": "1",
        "X-Customer-Id": "someone",
        "X-Forwarded-For": "10.0.0.1",
        "X-Served-Model": "llama-8b",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Cookie": "a=b",
    }
    status, _, headers = await request_path.ask(key, headers=spoofed)
    sent = {name.lower() for name in request_path.vllm.requests[-1][0]}
    assert status == 200
    assert not sent & ({name.lower() for name in spoofed} - {"connection"})
    assert not sent & {"authorization", "x-customer-domain"}
    assert headers["X-Served-Model"] == "bank-ledger-v1.0"


async def test_a_repeated_client_request_id_is_not_the_ledgers_key(
    request_path: RequestPath,
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    ids = {
        (await request_path.ask(key, headers={"X-Request-Id": "same"}))[2]["X-Request-Id"]
        for _ in range(3)
    }
    events, _ = read_events(request_path.world.ledger_dir)
    assert len(ids) == 3
    assert {event.request_id for event in events} == ids


async def test_models_lists_only_the_own_names(request_path: RequestPath) -> None:
    await live(request_path, "platform-docs", "v1.0")
    key = await live(request_path, "bank-ledger", "v1.0")
    async with request_path.session.get(
        f"{request_path.url}/v1/models", headers={"Authorization": f"Bearer {key}"}
    ) as response:
        names = [model["id"] for model in (await response.json())["data"]]
    assert names == ["slm", "llama-8b", "meta-llama/Llama-3.3-8B-Instruct", "bank-ledger-v1.0"]


async def test_the_llm_pool_on_its_base_model(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0", pools=["slm", "llm"])
    status, body, headers = await request_path.ask(key, model=GUIDE_70B)
    assert (status, body["model"], headers["X-Served-Model"]) == (200, "glm5", "glm5")
    assert request_path.vllm.requests[-1][1]["cache_salt"] == "bank-ledger"
    _, _, headers = await request_path.ask(key, model=GUIDE_70B, lora_name="bank-ledger")
    assert headers["X-Served-Model"] == "bank-ledger-v1.0"


async def test_the_release_before_stays_askable_and_a_candidate_is_not(
    request_path: RequestPath,
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    await live(request_path, "bank-ledger", "v1.1")
    request_path.world.publish("bank-ledger", "v1.2")
    await until(
        lambda: len(request_path.router.releases_of("bank-ledger").held) == 2, "both are held"
    )
    assert (await request_path.ask(key))[2]["X-Served-Model"] == "bank-ledger-v1.1"
    assert (await request_path.ask(key, model="bank-ledger-v1.0"))[0] == 200
    assert (await request_path.ask(key, model="bank-ledger-v1.2"))[0] == 404
    disagree = await request_path.ask(key, model="bank-ledger-v1.0", lora_name="bank-ledger")
    assert disagree[0] == 400


async def test_records_change_without_a_restart(request_path: RequestPath) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    record = json.loads((request_path.world.domains_dir / "bank-ledger.json").read_text())
    request_path.world.write_record("bank-ledger", record | {"key_hashes": []})
    async with asyncio.timeout(10):
        while (await request_path.ask(key))[0] != 401:
            await asyncio.sleep(0.02)
    request_path.world.write_record("bank-ledger", record | {"surprise": 1})
    request_path.world.domain("stock-order")
    await until(lambda: request_path.router.knows("stock-order"), "the next record is read")
    async with request_path.session.get(f"{request_path.url}/readyz") as response:
        problems = (await response.json())["records"]
    assert "surprise" in problems["bank-ledger.json"]
    (request_path.world.domains_dir / "bank-ledger.json").unlink()
    await until(lambda: not request_path.router.knows("bank-ledger"), "the domain is gone")


async def test_an_absent_folder_of_records_is_said_once_and_locks_nobody_out(
    request_path: RequestPath, caplog: pytest.LogCaptureFixture
) -> None:
    key = await live(request_path, "bank-ledger", "v1.0")
    folder = request_path.world.domains_dir
    caplog.clear()
    folder.rename(folder.with_name("away"))
    for _ in range(3):
        await request_path.router.refresh()
    said = [record for record in caplog.records if "tenancy records" in record.message]
    assert [str(folder) in record.message for record in said] == [True]
    assert (await request_path.ask(key))[0] == 200
