"""The command: exit codes, formats, and what it says of input that it cannot use."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.reconciliation.__main__ import main
from serving.reconciliation.config import ReconciliationConfig
from serving.reconciliation.errors import ReconciliationError
from serving.warehouse.layout import EVENTS, day_folder, sample_key
from tests.reconciliation.warehouse import BOOT, NOON, Server, Warehouse, at

HOUR = ("--from", "2026-11-25T12:00:00Z", "--to", "2026-11-25T13:00:00Z")


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """One request, counted once, with a sample on both sides."""
    warehouse, server = Warehouse(tmp_path), Server()
    warehouse.sample(0, server)
    warehouse.event(10, 11)
    server.count(1, 10, 5)
    warehouse.sample(60, server)
    warehouse.report()
    return warehouse


def run(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    path = warehouse.directory / "reconciliation.json"
    path.write_text(warehouse.config.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["reconciliation", "--config", str(path), *arguments])
        code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_all_explained_is_status_0(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(warehouse, capsys, *HOUR)
    assert code == 0
    assert "Every difference is explained." in out


def test_unknown_is_status_4_and_the_json_says_how_much(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    server.count(3, 10, 5)
    warehouse.sample(120, server)
    code, out, _ = run(warehouse, capsys, *HOUR, "--format", "json")
    assert code == 4
    report = json.loads(out)
    rows = {row["measure"]: row for row in report["differences"]}
    assert not report["explained"]
    assert (rows["requests"]["ledger"], rows["requests"]["counted"]) == (1, 3)
    assert rows["requests"]["unknown"] == 2
    assert rows["prompt_tokens"]["unknown"] == 0
    assert rows["requests"]["from"] == NOON.isoformat()
    assert rows["requests"]["to"] == at(120).isoformat()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "yesterday", "--to", "2026-11-25T13:00:00Z"), "--from 'yesterday' is no time"),
        (("--from", "2026-11-25T12:00:00", "--to", "2026-11-25T13:00:00Z"), "offset from UTC"),
        (("--from", "2026-11-25T12:00:00Z"), "give both"),
        (
            ("--from", "2026-11-25T13:00:00Z", "--to", "2026-11-25T12:00:00Z"),
            "the begin must be before the end",
        ),
        (
            ("--from", "2026-11-24T12:00:00Z", "--to", "2026-11-24T13:00:00Z"),
            "source vllm: 0 samples, and not two with counters, between "
            "2026-11-24T12:00:00+00:00 and 2026-11-24T13:00:00+00:00; it has samples from "
            "2026-11-25T12:00:00+00:00 to 2026-11-25T12:01:00+00:00",
        ),
    ],
)
def test_an_interval_that_cannot_be_compared_is_status_2(
    arguments: tuple[str, ...],
    message: str,
    warehouse: Warehouse,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(warehouse, capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_warehouse_that_was_never_sampled_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(Warehouse(tmp_path), capsys, *HOUR)
    assert code == 2
    assert "it was never sampled: is the sampler running" in err


def test_a_ledger_that_is_not_shipped_so_far_is_not_compared(
    warehouse: Warehouse,
) -> None:
    warehouse.shipped_until = at(30)
    with pytest.raises(
        ReconciliationError, match=r"router-0: the ledger is shipped until .*12:00:30"
    ):
        warehouse.report()
    warehouse.shipped_until = at(61)
    assert warehouse.report().explained


def test_a_ledger_that_was_never_shipped_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse, server = Warehouse(tmp_path), Server()
    warehouse.sample(0, server)
    warehouse.sample(60, server)
    code, _, err = run(warehouse, capsys, *HOUR)
    assert code == 2
    assert "no ledger was ever shipped" in err


def test_a_half_written_file_is_named(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"{day_folder(EVENTS, NOON.date())}router-9.parquet"
    whole = warehouse.store.get(key.replace("router-9", "router-0")).data
    warehouse.store.put(key, whole[: len(whole) // 2])
    code, _, err = run(warehouse, capsys, *HOUR)
    assert code == 2
    assert "router-9.parquet" in err
    assert "ship the range again" in err


def test_a_damaged_sample_is_named(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    key = sample_key("vllm", at(1800))
    warehouse.store.put(key, b'{"source": "vllm"')
    code, _, err = run(warehouse, capsys, *HOUR)
    assert code == 2
    assert key in err


def test_servers_that_were_down_and_lost_volumes_are_notes(warehouse: Warehouse) -> None:
    from serving.reconciliation.samples import Sample, ServerSample, write_sample

    down = ServerSample(
        server="127.0.0.1:8082", ended=at(30), up=False, reason="Connection refused"
    )
    write_sample(warehouse.store, Sample(source="vllm", at=at(30), servers=(down,)))
    report = warehouse.report()
    assert report.explained
    (note,) = report.notes
    assert "1 readings failed, the last one of 127.0.0.1:8082: Connection refused" in note


def test_counters_that_fall_without_a_start_time_are_another_process(tmp_path: Path) -> None:
    warehouse, server = Warehouse(tmp_path), Server()
    server.started = None  # type: ignore[assignment]
    warehouse.sample(0, server)
    server.restart(BOOT)
    server.started = None  # type: ignore[assignment]
    for number in range(3):
        warehouse.event(40 + number, 41 + number)
        server.count(1, 10, 5)
    warehouse.sample(60, server)
    (comparison,) = warehouse.report().comparisons
    assert [each.counted for each in comparison.differences] == [3, 30, 15]
    assert not any(each.unknown for each in comparison.differences)


VLLM = {
    "kind": "vllm",
    "name": "vllm",
    "url": "http://127.0.0.1:8082",
    "pools": ["slm"],
    "max_model_len": 2048,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": [VLLM, VLLM]}, "vllm: the name of two sources"),
        (
            {
                "sources": [
                    VLLM,
                    {
                        "kind": "adapter-sync",
                        "name": "sync",
                        "url": "http://127.0.0.1:1",
                        "probes": "vlm",
                    },
                ]
            },
            "sources.sync.probes: 'vlm' is no vllm source; there are: vllm",
        ),
        (
            {"evaluations": {"registry_uri": "file:///r", "source": "gateway"}},
            "evaluations.source: 'gateway' is no vllm source",
        ),
        ({"warehouse_uri": "/var/warehouse"}, "warehouse_uri"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    values = {"warehouse_uri": "file:///warehouse", "sources": [VLLM]} | changes
    with pytest.raises(ValueError, match=message):
        ReconciliationConfig.model_validate_json(json.dumps(values))
