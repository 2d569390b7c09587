"""Traces against the ledger: each cause at a known count; a store that answers as documented."""

import base64
import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from serving.reconciliation.amounts import Amounts
from serving.reconciliation.config import LangfuseTraces
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.langfuse import Langfuse
from serving.reconciliation.report import Report
from serving.tracing.trace import customer_tag
from tests.reconciliation.warehouse import NOON, Server, Warehouse, at, shares

KEYS = "pk-lf-1:sk-lf-2"
ROUTER_COUNTERS = {"traces_dropped": 40}


@dataclass
class StandInLangfuse:
    """Metrics v2 of a Langfuse, as its documentation describes them.

    It differs in this: observations are a list in memory; only the view, measures and filters that
    reconciliation uses are there, and another one is answered with 400; nothing is ever late.
    """

    observations: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, Any] | None = None
    """Answer with this instead."""

    def add(self, began: float, customer: str | None, prompt: int = 10, answer: int = 5) -> None:
        tags = [customer_tag(customer), "lora:bank-ledger-v1.0"] if customer else []
        self.observations.append(
            {
                "type": "GENERATION",
                "traceName": "inference",
                "environment": "test",
                "tags": tags,
                "startTime": at(began),
                "inputTokens": prompt,
                "outputTokens": answer,
            }
        )

    def metrics(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        self.queries.append(query)
        assert query["view"] == "observations", "the view traces is gone in version 4"
        assert query["config"]["row_limit"] <= 1000
        began, ended = (
            dt.datetime.fromisoformat(query[name]) for name in ("fromTimestamp", "toTimestamp")
        )
        found = [
            each
            for each in self.observations
            if began <= each["startTime"] < ended
            and all(_holds(one, each) for one in query["filters"])
        ]
        row: dict[str, Any] = {}
        for metric in query["metrics"]:
            name, how = metric["measure"], metric["aggregation"]
            values = [1 if name == "count" else each[name] for each in found]
            # ClickHouse writes 64-bit numbers as strings, and a sum of nothing as null.
            row[f"{how}_{name}"] = str(sum(values)) if found or name == "count" else None
        return [row]


def _holds(one: dict[str, Any], observation: dict[str, Any]) -> bool:
    value = observation[one["column"]]
    match one["type"], one["operator"]:
        case "string", "=":
            return bool(value == one["value"])
        case "arrayOptions", "any of":
            return bool(set(value) & set(one["value"]))
    raise ValueError(one)


@pytest.fixture
def langfuse() -> Iterator[tuple[str, StandInLangfuse]]:
    stand_in = StandInLangfuse()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            expected = f"Basic {base64.b64encode(KEYS.encode()).decode()}"
            if self.headers["Authorization"] != expected:
                self._answer(401, {"message": "Invalid credentials"})
            elif parts.path != "/api/public/v2/metrics":
                self._answer(404, {"message": "Not found"})
            elif stand_in.broken is not None:
                self._answer(200, stand_in.broken)
            else:
                query = json.loads(parse_qs(parts.query)["query"][0])
                self._answer(200, {"data": stand_in.metrics(query)})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", stand_in
    server.shutdown()
    server.server_close()


@dataclass
class Scene:
    """A warehouse of which every request has its trace, until a test changes that."""

    warehouse: Warehouse
    langfuse: StandInLangfuse
    server: Server = field(default_factory=Server)
    router: Server = field(
        default_factory=lambda: Server("127.0.0.1:8081", counters=dict(ROUTER_COUNTERS))
    )

    def request(self, began: float, customer: str, *, traced: bool = True, **fields: Any) -> None:
        event = self.warehouse.event(began, began + 1, customer=customer, **fields)
        prompt, answer = event["input_tokens"] or 0, event["output_tokens"] or 0
        self.server.count(1, prompt, answer)
        if traced:
            self.langfuse.add(began, customer, prompt, answer)

    def sample(self, moment: float) -> None:
        self.warehouse.sample(moment, self.server)
        self.warehouse.sample(moment, self.router, source="router")

    def report(self, **options: Any) -> Report:
        return self.warehouse.report(0, 600, **options)


@pytest.fixture
def scene(
    tmp_path: Path, langfuse: tuple[str, StandInLangfuse], monkeypatch: pytest.MonkeyPatch
) -> Scene:
    url, stand_in = langfuse
    keys = tmp_path / "keys"
    keys.write_text(KEYS + "\n")
    warehouse = Warehouse(tmp_path)
    warehouse.options["sources"] = [
        *[source.model_dump() for source in warehouse.config.sources],
        {"kind": "router", "name": "router", "url": "http://127.0.0.1:8081"},
    ]
    warehouse.options["traces"] = {
        "kind": "langfuse",
        "url": url,
        "environment": "test",
        "credentials": str(keys),
    }
    scene = Scene(warehouse, stand_in)
    scene.sample(0)
    for number in range(10):
        scene.request(20 + number, "customer-bank-A")
        scene.request(20 + number, "customer-securities-B", input_tokens=20, output_tokens=8)
    return scene


def of(report: Report, customer: str, measure: str = "requests") -> dict[str, int]:
    return shares(report, measure, "langfuse", customer)


def test_each_customer_is_asked_for_by_its_tag(scene: Scene) -> None:
    scene.sample(300)
    report = scene.report()
    assert report.explained
    asked = [
        one["value"]
        for query in scene.langfuse.queries
        for one in query["filters"]
        if one["column"] == "tags"
    ]
    assert asked == [["customer:customer-bank-A"], ["customer:customer-securities-B"]]
    found = {
        comparison.scope: [difference.counted for difference in comparison.differences]
        for comparison in report.comparisons
        if comparison.source == "langfuse"
    }
    assert found == {
        "customer-bank-A": [10, 100, 50],
        "customer-securities-B": [10, 200, 80],
        "": [0, 0, 0],
    }


def test_a_customer_whose_name_is_not_ascii_is_asked_for_as_its_traces_are_tagged(
    scene: Scene,
) -> None:
    scene.request(100, "Müller & Söhne")
    scene.sample(300)
    report = scene.report()
    assert of(report, "Müller & Söhne") == {}
    assert of(report, "") == {}


def test_dropped_traces_are_as_many_as_the_routers_counted(scene: Scene) -> None:
    for number in range(3):
        scene.request(100 + number, "customer-bank-A", traced=False)
    for number in range(2):
        scene.request(
            110 + number, "customer-securities-B", traced=False, input_tokens=20, output_tokens=8
        )
    scene.router.counters["traces_dropped"] += 5
    scene.sample(300)
    report = scene.report()
    assert report.explained
    assert of(report, "customer-bank-A") == {"dropped_trace": -3}
    assert of(report, "customer-bank-A", "prompt_tokens") == {"dropped_trace": -30}
    assert of(report, "customer-securities-B", "generation_tokens") == {"dropped_trace": -16}


def test_one_more_trace_is_missing_than_was_dropped(scene: Scene) -> None:
    for number in range(3):
        scene.request(100 + number, "customer-bank-A", traced=False)
    scene.request(110, "customer-securities-B", traced=False)
    scene.router.counters["traces_dropped"] += 3
    scene.sample(300)
    report = scene.report()
    assert of(report, "customer-bank-A") == {"dropped_trace": -3}
    assert of(report, "customer-securities-B") == {"unknown": -1}


def test_a_trace_under_another_customers_name_does_not_cancel_out(scene: Scene) -> None:
    scene.request(100, "customer-bank-A", traced=False)
    scene.langfuse.add(100, "customer-securities-B")
    scene.sample(300)
    report = scene.report()
    assert of(report, "customer-bank-A") == {"unknown": -1}
    assert of(report, "customer-securities-B") == {"unknown": 1}


def test_a_trace_of_nobody_is_unknown(scene: Scene) -> None:
    scene.langfuse.add(100, None, 7, 3)
    scene.sample(300)
    report = scene.report()
    assert of(report, "") == {"unknown": 1}
    assert of(report, "", "prompt_tokens") == {"unknown": 7}


def test_a_router_that_ended_took_its_last_traces_along(scene: Scene) -> None:
    # Requests before that are too early for this.
    scene.warehouse.options["trace_retry_for_s"] = 0
    scene.sample(60)
    for number in range(4):
        scene.request(80 + number, "customer-bank-A", traced=False)
    scene.router.restart(at(90))
    scene.sample(120)
    scene.request(150, "customer-bank-A", traced=False)
    scene.sample(300)
    assert of(scene.report(), "customer-bank-A") == {"router_restart": -4, "unknown": -1}


def test_traces_that_no_receiver_took_are_lost_with_their_router(scene: Scene) -> None:
    # A batch is sent again for five minutes, and the next one waits behind it.
    scene.request(100, "customer-bank-A", traced=False)
    scene.sample(299)
    scene.router.restart(at(300))
    scene.sample(310)
    assert of(scene.report(), "customer-bank-A") == {"router_restart": -1}
    scene.warehouse.options["trace_retry_for_s"] = 60
    assert of(scene.report(), "customer-bank-A") == {"unknown": -1}


def test_a_trace_may_be_on_its_way_for_the_configured_time(scene: Scene) -> None:
    scene.request(250, "customer-bank-A", traced=False)
    scene.sample(300)
    assert of(scene.report(now=700), "customer-bank-A") == {"trace_delay": -1}
    assert of(scene.report(now=1000), "customer-bank-A") == {"unknown": -1}


def test_an_admission_at_the_boundary_may_be_on_either_side(scene: Scene) -> None:
    # The trace's clock is read first: in the interval by the ledger's clock alone.
    scene.request(0.001, "customer-bank-A", traced=False)
    scene.langfuse.add(-0.001, "customer-bank-A")
    # And the other way round.
    scene.request(600.002, "customer-securities-B", traced=False)
    scene.langfuse.add(599.999, "customer-securities-B")
    scene.sample(590)
    report = scene.report()
    assert of(report, "customer-bank-A") == {"boundary": -1}
    assert of(report, "customer-securities-B") == {"boundary": 1}


def test_a_request_may_have_ended_since_the_ledger_was_shipped(scene: Scene) -> None:
    scene.warehouse.leave_open(310)
    scene.langfuse.add(310, "customer-bank-A")
    scene.sample(300)
    report = scene.report()
    assert report.explained
    assert of(report, "customer-bank-A") == {"in_flight": 1}
    assert of(report, "customer-bank-A", "prompt_tokens") == {"in_flight": 10}


def test_failed_requests_have_traces_too(scene: Scene) -> None:
    scene.request(100, "customer-bank-A", status=502, error="upstream_broke_off", output_tokens=2)
    scene.sample(300)
    assert of(scene.report(), "customer-bank-A") == {}
    assert of(scene.report(), "customer-bank-A", "generation_tokens") == {}


def config(url: str, **changes: Any) -> LangfuseTraces:
    return LangfuseTraces.model_validate({"url": url, "environment": "test"} | changes)


def test_keys_come_from_the_environment_without_a_file(
    langfuse: tuple[str, StandInLangfuse],
) -> None:
    url, stand_in = langfuse
    stand_in.add(5, "customer-bank-A")
    environ = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"}
    found = Langfuse(config(url), environ).traced(["customer-bank-A"], NOON, at(60))
    assert found == {"customer-bank-A": Amounts(1, 10, 5), None: Amounts()}


@pytest.mark.parametrize(
    ("environ", "broken", "message"),
    [
        ({}, None, "LANGFUSE_SECRET_KEY"),
        ({"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "x"}, None, "401"),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"},
            {"error": "maintenance"},
            "not an answer as Langfuse 4 documents it",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"},
            {"data": [{"count_count": "1"}, {"count_count": "2"}]},
            "2 rows where one was asked for",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"},
            {"data": ["maintenance"]},
            "not an answer as Langfuse 4 documents it",
        ),
    ],
)
def test_what_langfuse_refuses_is_a_clear_error(
    langfuse: tuple[str, StandInLangfuse],
    environ: dict[str, str],
    broken: dict[str, Any] | None,
    message: str,
) -> None:
    url, stand_in = langfuse
    stand_in.broken = broken
    with pytest.raises(ReconciliationError, match=message):
        Langfuse(config(url), environ).traced(["customer-bank-A"], NOON, at(60))


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("only-one")
    with pytest.raises(ReconciliationError, match=r"keys: not of the form <public key>:<secret"):
        Langfuse(config("http://127.0.0.1:9", credentials=str(keys)), {})
