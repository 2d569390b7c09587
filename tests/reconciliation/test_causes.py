"""Each cause, made at a known count: exactly that share, and nothing unknown.

The whole way: events in Parquet, samples in the warehouse, a report.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from registry.store import open_store
from serving.reconciliation import ledger
from tests.reconciliation.warehouse import MODEL_LEN, Server, Warehouse, at, shares

SERVER = "127.0.0.1:8082"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


@pytest.fixture
def server() -> Server:
    return Server()


def answered(warehouse: Warehouse, server: Server, count: int, **fields: Any) -> None:
    """Requests that both sides know alike."""
    for number in range(count):
        event = warehouse.event(10 + number, 10.5 + number, **fields)
        server.count(1, event["input_tokens"], event["output_tokens"])


Cause = Callable[[Warehouse, Server], dict[str, dict[str, int]]]


def retry(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for number in range(4):
        warehouse.event(40, 41 + number, attempts=2, input_tokens=11, output_tokens=7)
        server.count(2, 22, 7)
    return {"requests": {"retry": 4}, "prompt_tokens": {"retry": 44}}


def wasted(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(3):
        warehouse.event(
            50, 51, pool="llm", wasted_pool="slm", wasted_input_tokens=10, wasted_output_tokens=6
        )
        server.count(2, 20, 11)
    return {
        "requests": {"wasted_cascade": 3},
        "prompt_tokens": {"wasted_cascade": 30},
        "generation_tokens": {"wasted_cascade": 18},
    }


def orphan(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(2):
        warehouse.orphan(60)
        server.count(1, 9, 4)
    return {
        "requests": {"orphan": 2},
        "prompt_tokens": {"orphan": 18},
        "generation_tokens": {"orphan": 8},
    }


def failed_before_the_server(warehouse: Warehouse, _: Server) -> dict[str, dict[str, int]]:
    for _ in range(5):
        warehouse.event(
            70, 71, status=502, error="upstream_unreachable", input_tokens=None, output_tokens=None
        )
    return {"requests": {"failed": -5}}


def failed_on_the_server(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(2):
        warehouse.event(72, 73, status=502, error="upstream_broke_off", output_tokens=3)
        server.count(1, 10, 4)
    return {"prompt_tokens": {"failed": 20}, "generation_tokens": {"failed": 8}}


def refused(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(3):
        warehouse.event(
            74, 75, status=400, error="upstream_refused", input_tokens=None, output_tokens=None
        )
        server.count(1)
    return {}


def unmeasured(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(2):
        warehouse.event(
            80, 81, status=499, error="client_closed", input_tokens=None, output_tokens=None
        )
        server.count(1, 10, 2)
    return {"prompt_tokens": {"unmeasured": 20}, "generation_tokens": {"unmeasured": 4}}


def cut_off(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    for _ in range(6):
        warehouse.event(82, 83, status=499, error="client_closed", output_tokens=3)
        server.count(1, 10, 5)
    return {"generation_tokens": {"cut_off": 12}}


def choices(warehouse: Warehouse, server: Server) -> dict[str, dict[str, int]]:
    warehouse.event(84, 85, input_tokens=16, output_tokens=48)
    server.count(1, 48, 48)
    server.counters["further_answers"] += 2
    return {"prompt_tokens": {"choices": 32}}


CAUSES: dict[str, Cause] = {
    each.__name__: each
    for each in (
        retry,
        wasted,
        orphan,
        failed_before_the_server,
        failed_on_the_server,
        refused,
        unmeasured,
        cut_off,
        choices,
    )
}


def merged(*parts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    measures = ("requests", "prompt_tokens", "generation_tokens")
    return {
        measure: {cause: n for part in parts for cause, n in part.get(measure, {}).items()}
        for measure in measures
    }


def found(warehouse: Warehouse) -> dict[str, dict[str, int]]:
    report = warehouse.report()
    measures = ("requests", "prompt_tokens", "generation_tokens")
    return {measure: shares(report, measure) for measure in measures}


def test_two_sides_that_agree_need_no_cause(warehouse: Warehouse, server: Server) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    warehouse.sample(600, server)
    assert found(warehouse) == merged({})
    report = warehouse.report()
    assert report.explained
    (comparison,) = report.comparisons
    assert [each.ledger for each in comparison.differences] == [20, 200, 100]
    assert not any(each.hides_above or each.hides_below for each in comparison.differences)


@pytest.mark.parametrize("name", CAUSES)
def test_one_cause_gets_exactly_its_count(name: str, warehouse: Warehouse, server: Server) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    expected = CAUSES[name](warehouse, server)
    warehouse.sample(600, server)
    assert found(warehouse) == merged(expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("retry", "wasted"),
        ("retry", "refused"),
        ("wasted", "orphan"),
        ("wasted", "unmeasured"),
        ("wasted", "cut_off"),
        ("failed_before_the_server", "wasted"),
        ("refused", "cut_off"),
        ("choices", "wasted"),
    ],
)
def test_two_causes_at_once_get_their_counts(
    one: str, other: str, warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    expected = [CAUSES[one](warehouse, server), CAUSES[other](warehouse, server)]
    warehouse.sample(600, server)
    assert found(warehouse) == merged(*expected)


def test_causes_that_cancel_each_other_are_shown_as_ranges_that_hold_the_truth(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    retry(warehouse, server)
    failed_before_the_server(warehouse, server)
    warehouse.sample(600, server)
    report = warehouse.report()
    (requests, *_) = report.comparisons[0].differences
    assert (requests.difference, requests.unknown) == (-1, 0)
    ranges = {each.cause: (each.least, each.most) for each in requests.attributions}
    assert ranges == {"retry": (0, 4), "failed": (-5, -1)}
    # The prompts of the retries arrived, and nothing else can have made them.
    assert shares(report, "prompt_tokens") == {"retry": 44}


@pytest.mark.parametrize("name", ["retry", "wasted", "refused"])
@pytest.mark.parametrize("fault", [-7, 7])
def test_a_fault_beside_a_cause_is_unknown(
    name: str, fault: int, warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    expected = CAUSES[name](warehouse, server).get("prompt_tokens", {})
    server.count(0, fault)
    warehouse.sample(600, server)
    report = warehouse.report()
    seen = shares(report, "prompt_tokens")
    if name == "retry" and fault < 0:
        # Attempts that failed may have been counted or not: 44 tokens of slack, and it says so.
        assert seen == {"retry": 44 + fault}
        (prompt,) = [d for d in report.comparisons[0].differences if d.measure == "prompt_tokens"]
        assert (prompt.hides_below, prompt.hides_above) == (44 + fault, -fault)
    else:
        assert seen == expected | {"unknown": fault}
        assert not report.explained


def test_requests_in_progress_at_the_samples_are_in_flight(
    warehouse: Warehouse, server: Server
) -> None:
    # Begun before the first sample: its prompt and two tokens are counted already.
    server.count(0, 10, 2)
    warehouse.event(-2, 2)
    warehouse.sample(0, server)
    server.count(1, 0, 3)
    answered(warehouse, server, 20)
    # Going on at the last sample: nothing of it is counted but its prompt.
    server.count(0, 30)
    warehouse.event(599, 620, input_tokens=30)
    warehouse.sample(600, server)
    report = warehouse.report(ended=610)
    assert report.explained
    assert shares(report, "prompt_tokens") == {"in_flight": 20}
    assert shares(report, "generation_tokens") == {"in_flight": -2}


def test_a_request_whose_end_nobody_knows_yet_is_in_flight(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 3)
    server.count(0, 40, 6)
    warehouse.leave_open(590)
    warehouse.sample(600, server)
    assert found(warehouse) == merged(
        {"prompt_tokens": {"in_flight": 40}, "generation_tokens": {"in_flight": 6}}
    )


def test_a_restart_loses_what_ran_since_the_last_sample_and_no_more(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 20)
    warehouse.sample(60, server)
    for number in range(6):
        warehouse.event(70 + number, 71 + number, server=SERVER)
    server.restart(at(90))
    for number in range(4):
        warehouse.event(100 + number, 101 + number, server=SERVER)
        server.count(1, 10, 5)
    warehouse.sample(120, server)
    warehouse.sample(180, server)
    report = warehouse.report()
    assert shares(report, "requests") == {"pod_restart": -6}
    assert shares(report, "generation_tokens") == {"pod_restart": -30}
    # One more is missing than can have been lost.
    warehouse.event(150, 151, server=SERVER)
    assert shares(warehouse.report(), "requests") == {"pod_restart": -6, "unknown": -1}


def test_only_the_restarted_pod_can_have_lost_its_requests(warehouse: Warehouse) -> None:
    one, other = Server("10.0.0.1:8000"), Server("10.0.0.2:8000")
    warehouse.sample(0, one, other)
    for pod in (one, other):
        for _ in range(5):
            warehouse.event(70, 71, server=pod.name)
    other.count(4, 40, 20)
    one.restart(at(90))
    warehouse.sample(120, one, other)
    assert shares(warehouse.report(), "requests") == {"pod_restart": -5, "unknown": -1}


def test_a_pod_that_is_gone_counts_until_its_last_sample(warehouse: Warehouse) -> None:
    one, other = Server("10.0.0.1:8000"), Server("10.0.0.2:8000")
    warehouse.sample(0, one, other)
    warehouse.event(10, 11, server=one.name)
    one.count(1, 10, 5)
    warehouse.sample(60, one, other)
    warehouse.event(70, 71, server=one.name)
    warehouse.sample(120, other)
    assert shares(warehouse.report(), "requests") == {"pod_restart": -1}


def test_a_new_pod_counts_from_zero(warehouse: Warehouse) -> None:
    one, other = Server("10.0.0.1:8000"), Server("10.0.0.2:8000")
    warehouse.sample(0, one)
    other.restart(at(30))
    for _ in range(3):
        warehouse.event(40, 41, server=other.name)
        other.count(1, 10, 5)
    warehouse.sample(60, one, other)
    warehouse.sample(120, one, other)
    assert found(warehouse) == merged({})


def test_a_pod_that_was_not_reached_at_first_is_said_to_be_so(warehouse: Warehouse) -> None:
    one, other = Server("10.0.0.1:8000"), Server("10.0.0.2:8000")
    warehouse.sample(0, one)
    for _ in range(3):
        warehouse.event(10, 11, server=other.name)
        other.count(1, 10, 5)
    warehouse.sample(60, one, other)
    warehouse.event(70, 71, server=other.name)
    other.count(1, 10, 5)
    warehouse.sample(120, one, other)
    assert shares(warehouse.report(), "requests") == {"not_sampled": -3}


def test_probes_of_adapter_sync_are_known_by_their_own_counter(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.options["sources"] = [
        warehouse.config.sources[0].model_dump(),
        {"kind": "adapter-sync", "name": "sync", "url": "http://127.0.0.1:8084", "probes": "vllm"},
    ]
    sync = Server("127.0.0.1:8084", counters={"requests": 8, "prompt_tokens": 96,
                                              "generation_tokens": 64, "failed": 0,
                                              "in_progress": 0})  # fmt: skip
    warehouse.sample(0, server)
    warehouse.sample(0, sync, source="sync")
    answered(warehouse, server, 3)
    for target in (server, sync):
        target.count(4, 48, 32)
    warehouse.sample(60, server)
    warehouse.sample(60, sync, source="sync")
    expected = {
        "requests": {"probe": 4},
        "prompt_tokens": {"probe": 48},
        "generation_tokens": {"probe": 32},
    }
    assert found(warehouse) == merged(expected)
    server.count(1)
    warehouse.sample(90, server)
    warehouse.sample(90, sync, source="sync")
    assert shares(warehouse.report(), "requests") == {"probe": 4, "unknown": 1}


def test_evaluation_jobs_are_known_by_what_they_noted(
    warehouse: Warehouse, server: Server, tmp_path: Path
) -> None:
    registry = f"file://{tmp_path}/registry"
    warehouse.options["evaluations"] = {"registry_uri": registry, "source": "vllm"}
    warehouse.sample(0, server)
    answered(warehouse, server, 3)
    server.count(50, 4000, 900)
    _traffic(registry, "run-1", began=20, ended=40, answered=50, tokens=(4000, 900), unanswered=0)
    # Killed: nobody knows how far it came, but it had 10 rows to ask.
    server.count(7, 560, 100)
    _traffic(registry, "run-2", began=50, ended=None, answered=0, tokens=(0, 0), unanswered=10)
    # Another day's job is none of this interval's business.
    _traffic(registry, "run-0", began=-9e4, ended=-8e4, answered=9, tokens=(1, 1), unanswered=0)
    warehouse.sample(600, server)
    report = warehouse.report()
    assert shares(report, "requests") == {"evaluation": 57}
    assert shares(report, "prompt_tokens") == {"evaluation": 4560}
    (requests, *_) = report.comparisons[0].differences
    assert (requests.hides_below, requests.hides_above) == (7, 3)


def _traffic(
    registry: str,
    run: str,
    *,
    began: float,
    ended: float | None,
    answered: int,
    tokens: tuple[int, int],
    unanswered: int,
) -> None:
    from registry import documents, layout
    from registry.traffic import Traffic

    traffic = Traffic(
        run_id=run,
        began=at(began),
        ended=None if ended is None else at(ended),
        answered=answered,
        prompt_tokens=tokens[0],
        generation_tokens=tokens[1],
        unanswered=unanswered,
    )
    key = layout.run_traffic("bank-ledger", run, 1)
    open_store(registry).put(key, documents.encode(traffic))


def test_a_gateway_counts_no_tokens_of_an_answer_that_broke_off(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.options["sources"] = [
        {
            "kind": "bifrost",
            "name": "gateway-slm",
            "url": "http://127.0.0.1:8090",
            "provider": "slm",
            "pools": ["slm"],
            "max_model_len": MODEL_LEN,
        }
    ]
    warehouse.sample(0, server, source="gateway-slm")
    answered(warehouse, server, 5)
    # The other pool's requests go through another provider.
    warehouse.event(30, 31, pool="llm")
    for _ in range(2):
        warehouse.event(82, 83, status=499, error="client_closed", output_tokens=3)
        server.count(1)
    warehouse.event(90, 91, attempts=2)
    server.count(2, 10, 5)
    warehouse.sample(600, server, source="gateway-slm")
    report = warehouse.report()
    assert report.explained
    assert shares(report, "requests", "gateway-slm") == {"retry": 1}
    assert shares(report, "prompt_tokens", "gateway-slm") == {"cut_off": -20}
    assert shares(report, "generation_tokens", "gateway-slm") == {"cut_off": -6}


def test_a_request_shipped_twice_counts_once(warehouse: Warehouse, server: Server) -> None:
    warehouse.sample(0, server)
    answered(warehouse, server, 4)
    warehouse.events += [dict(event) for event in warehouse.events]
    warehouse.sample(600, server)
    assert found(warehouse) == merged({})


def test_of_records_that_differ_the_one_that_is_billed_counts(
    warehouse: Warehouse, server: Server
) -> None:
    warehouse.sample(0, server)
    # In both orders, so that neither the order of rows nor that of files decides.
    for writers in (("router-0", "router-1"), ("router-1", "router-0")):
        request_id = str(uuid.uuid4())
        for writer in writers:
            tokens = 5 if writer == "router-0" else 900
            warehouse.event(10, 11, request_id=request_id, writer=writer, output_tokens=tokens)
        server.count(1, 10, 5)
    # Its first copy ended long before the interval: that is the one that is billed.
    request_id = str(uuid.uuid4())
    warehouse.event(-900, -899, request_id=request_id)
    warehouse.event(-900, 20, request_id=request_id)
    warehouse.sample(600, server)
    assert found(warehouse) == merged({})


def test_an_orphan_whose_event_came_after_all_is_none(warehouse: Warehouse, server: Server) -> None:
    warehouse.sample(0, server)
    event = warehouse.event(10, 11)
    warehouse.orphan(10, request_id=event["request_id"])
    server.count(2, 20, 10)
    warehouse.sample(600, server)
    assert shares(warehouse.report(), "requests") == {"unknown": 1}


def test_too_little_memory_is_not_taken_for_a_damaged_file(
    warehouse: Warehouse, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(_: duckdb.DuckDBPyConnection) -> None:
        raise duckdb.OutOfMemoryException("failed to allocate")

    warehouse.sample(0, server)
    warehouse.event(10, 11)
    warehouse.sample(600, server)
    monkeypatch.setattr(ledger, "take_first_copies", without_memory)
    with pytest.raises(duckdb.OutOfMemoryException):
        warehouse.report()
