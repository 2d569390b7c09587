"""`pipeline bill` over a ledger that the real writer wrote and the real shipper ships."""

import csv
import datetime as dt
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from registry.errors import RegistryError
from serving.billing.command import ATTENTION_STATUS
from serving.ledger import Event, Intent, LedgerWriter
from serving.ledger.ids import new_request_id
from serving.ledger.shipping.config import ShipperConfig
from stacks.cli.billing import app
from stacks.config.load import ConfigError
from stacks.local_workloads import engine_pod
from stacks.paths import ROOT

PRICES = """
currency: USD
prices:
  - from: 2024-01-01
    pools:
      slm: {input: "0.10", cached_input: "0.025", output: "0.40"}
      llm: {input: "3", cached_input: "0.75", output: "12"}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an environment that has a shipper, and nothing that runs."""
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    shutil.copy(ROOT / "stacks" / "Pulumi.local.yaml", stacks)
    (stacks / "prices.yaml").write_text(PRICES)
    home = tmp_path / "state" / "local"
    config = ShipperConfig(
        ledger_dir=home / "ledger", writer="local-router", warehouse_uri=f"file://{home}/warehouse"
    )
    path = home / "workloads" / "shipper" / "files" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(config.model_dump_json())
    monkeypatch.setenv("PIPELINE_STACKS_DIR", str(stacks))
    monkeypatch.setenv("PIPELINE_STATE_DIR", str(tmp_path / "state"))
    return home


def _event(at: dt.datetime, customer: str, tokens: tuple[int, int, int]) -> Event:
    entered, cached, left = tokens
    return Event(
        request_id=new_request_id(int(at.timestamp() * 1000)),
        ts=at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        domain="bank-ledger",
        customer=customer,
        version="v1.0",
        served_model="bank-ledger-v1.0",
        pool="slm",
        stream=False,
        status=200,
        input_tokens=entered,
        output_tokens=left,
        cached_tokens=cached,
        latency_ms=12.5,
        ttft_ms=None,
        error=None,
        # Sent to no pod, whose GPU time would have to be reported.
        attempts=0,
    )


def _intent(event: Event) -> Intent:
    names = ("request_id", "ts", "domain", "customer", "version", "served_model", "pool", "stream")
    return Intent(**{name: getattr(event, name) for name in names})


async def _write(home: Path, *records: Event | Intent) -> None:
    ledger = LedgerWriter(home / "ledger")
    for record in records:
        await ledger.append(record)
    await ledger.close()


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _bill(month: str) -> dict:
    return json.loads(_run("--month", month, "--format", "json").stdout)


ENGINE = engine_pod("local")
JUNE = dt.datetime(2024, 6, 30, 23, 59, 59, tzinfo=dt.UTC)


async def test_from_the_ledger_to_a_closed_month_and_its_corrections(
    home: Path, tmp_path: Path
) -> None:
    first = _event(JUNE, "bank", (100_000_000, 0, 0))
    other = _event(JUNE, "insurance", (1_000, 400, 200))
    await _write(home, _intent(first), first, first, _intent(other), other)
    result = _run("--month", "2024-06")
    assert (result.exit_code, "10.00 USD" in result.stdout) == (0, True)
    before = _bill("2024-06")
    assert before["total_due"] == "10.00"
    assert [invoice["cost"] for invoice in before["invoices"]] == ["10.00", "0.00015"]

    assert _run("close", "--month", "2024-06").exit_code == 0
    closed = _run("--month", "2024-06", "--format", "json").stdout
    assert {**json.loads(closed), "closed": False} == before

    late = _event(JUNE, "bank", (2_000_000, 0, 0))
    await _write(home, _intent(late), late)
    assert _run("--month", "2024-06", "--format", "json").stdout == closed
    corrected = ("--month", "2024-06", "--customer", "bank", "--reason", "r")
    _run("credit", *corrected, "--amount", "0.05")
    assert (
        "debit note 2024-06-0002: 0.03 USD" in _run("debit", *corrected, "--amount", "0.03").stdout
    )
    (invoice,) = _bill("2024-07")["invoices"]
    assert [(line["kind"], line["month"], line["amount"]) for line in invoice["lines"]] == [
        ("tokens", "2024-06", "0.20"),
        ("credit", "2024-06", "-0.05"),
        ("debit", "2024-06", "0.03"),
    ]

    rows = csv.DictReader(
        io.StringIO(_run("requests", "--month", "2024-06", "--customer", "bank").stdout)
    )
    assert [row["request_id"] for row in rows] == [first.request_id]
    rows = csv.DictReader(
        io.StringIO(_run("requests", "--month", "2024-07", "--customer", "bank").stdout)
    )
    assert [row["request_id"] for row in rows] == [late.request_id]
    (chain,) = _run("verify").stdout.splitlines()
    assert chain.startswith("2024-06 sha256:")

    paths = _run("--month", "2024-06", "--format", "focus", "--out", str(tmp_path / "out")).stdout
    assert "Input Tokens" in Path(paths.strip()).read_text()


async def test_a_month_of_the_local_engine_needs_no_person(home: Path) -> None:
    # A request that the engine still worked on after midnight, and one of the next day.
    moments = (JUNE, JUNE.replace(hour=8), JUNE + dt.timedelta(hours=5))
    answered = [
        replace(_event(at, "bank", (1_000, 0, 100)), server=ENGINE, latency_ms=30_000, ttft_ms=5e3)
        for at in moments
    ]
    # The cascade asks the same engine twice.
    answered[1] = replace(
        answered[1],
        wasted_pool="slm",
        wasted_server=ENGINE,
        wasted_input_tokens=7,
        wasted_cached_tokens=0,
        wasted_output_tokens=3,
    )
    for event in answered:
        await _write(home, _intent(event), event)
    for month, requests in (("2024-06", 2), ("2024-07", 1), ("2024-06", 2)):
        result = _run("--month", month, "--format", "json")
        statement = json.loads(result.stdout)
        assert (result.exit_code, statement["attention"]) == (0, [])
        (invoice,) = statement["invoices"]
        assert (invoice["counts"]["requests"], invoice["gpu_ms"]) == (requests, 0)
        assert statement["platform"] == []
    assert _run("close", "--month", "2024-06").exit_code == 0


@pytest.mark.parametrize("beside", [(), ("bank-ledger-v1.0",)], ids=["alone", "beside-a-release"])
async def test_base_models_are_billed_without_a_version(
    home: Path, beside: tuple[str, ...]
) -> None:
    event = _event(JUNE, "bank", (1_000_000, 400_000, 500_000))
    base = replace(event, domain="stock-order", served_model="glm5", pool="llm", version=None)
    await _write(home, _intent(base), base)
    for served in beside:
        other = _event(JUNE, "bank", (1_000_000, 0, 0))
        assert other.served_model == served
        await _write(home, _intent(other), other)
    (invoice,) = _bill("2024-06")["invoices"]
    lines = {line["served_model"]: line for line in invoice["lines"] if line["kind"] == "tokens"}
    assert lines.keys() == {"glm5", *beside}
    line = lines["glm5"]
    assert (line["domain"], line["pool"], line["version"]) == ("stock-order", "llm", None)
    # 600,000 x 3 + 400,000 x 0.75 + 500,000 x 12, each a million.
    assert line["amount"] == "8.10"
    assert _run("close", "--month", "2024-06").exit_code == 0
    focus = ("--month", "2024-06", "--format", "focus", "--out", str(home / "focus"))
    rows = csv.DictReader(io.StringIO(Path(_run(*focus).stdout.strip()).read_text()))
    details = [json.loads(row["SkuPriceDetails"]) for row in rows]
    assert {each.get("ModelVersion") for each in details if each["ModelId"] == "glm5"} == {None}


async def test_calibrated_weights_say_what_gpu_time_is_used(home: Path) -> None:
    event = replace(_event(JUNE, "bank", (1_000, 0, 100)), server="slm-0")
    await _write(home, _intent(event), event)
    begin = JUNE.replace(hour=0, minute=0, second=0)
    interval = {
        "pod": "slm-0",
        "pool": "slm",
        "gpu_type": "L4",
        "gpus": 1,
        "price_class": "spot",
        "started": begin.isoformat(),
        "ended": (begin + dt.timedelta(days=1)).isoformat(),
    }
    report = home / "warehouse" / "pods" / "day=2024-06-30" / "cluster.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"intervals": [interval]}))
    # The guide's: 1100 tokens of 360 microseconds.
    assert _bill("2024-06")["invoices"][0]["gpu_ms"] == 396
    weights = home.parents[1] / "stacks" / "gpu-weights.json"
    slm = {"prefill_us": 100, "cached_us": 0, "decode_us": 2_000}
    weights.write_text(json.dumps({"pools": {"slm": slm}, "source": "this test"}))
    assert _bill("2024-06")["invoices"][0]["gpu_ms"] == 100 + 200
    weights.write_text(json.dumps({"pools": {"slm": slm}}))
    with pytest.raises(RegistryError, match=r"gpu-weights\.json: source"):
        _bill("2024-06")


async def test_another_pod_than_the_local_engine_is_named(home: Path) -> None:
    event = replace(_event(JUNE, "bank", (10, 0, 0)), server="slm-0")
    await _write(home, _intent(event), event)
    result = _run("--month", "2024-06", "--format", "json")
    assert result.exit_code == ATTENTION_STATUS
    (found,) = json.loads(result.stdout)["attention"]
    assert (found["kind"], found["where"]) == ("unknown-pod", "slm-0")


async def test_what_a_person_must_see_ends_with_another_status(home: Path) -> None:
    event = _event(JUNE, "bank", (10, 0, 0))
    await _write(home, _intent(event))
    result = _run("--month", "2024-06")
    assert result.exit_code == ATTENTION_STATUS
    assert event.request_id[:8] in result.stdout


async def test_what_cannot_be_shipped_is_said_and_ends_with_another_status(home: Path) -> None:
    event = _event(JUNE, "bank", (1_000_000, 0, 0))
    await _write(home, _intent(event), event, replace(event, request_id="no id"))
    result = _run("--month", "2024-06", "--format", "json")
    assert result.exit_code == ATTENTION_STATUS
    assert "The bill may lack what was not shipped." in result.stderr
    statement = json.loads(result.stdout)
    assert statement["total_due"] == "0.10"
    assert [found["kind"] for found in statement["attention"]] == ["damaged-segment"]


def test_an_environment_that_was_never_up_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIPELINE_STATE_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="has no shipper yet: `pipeline up local`"):
        _run("--month", "2024-06")
    with pytest.raises(ConfigError, match="has no warehouse yet"):
        _run("verify")
