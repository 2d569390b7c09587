"""GPU time of jobs: from the registry's results to the warehouse."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from registry import documents, layout
from registry.directory_store import DirectoryStore
from registry.runs import RunResult
from serving.billing.errors import BillingError
from serving.billing.runs import billed_runs, collect_runs, read_runs, write_run
from tests.billing.builders import run


def _result(
    store: DirectoryStore,
    run_id: str,
    metrics: dict[str, Any] | None,
    *,
    domain: str = "ledger",
    customer: str | None = "bank",
) -> None:
    result = {} if metrics is None else {"metrics": metrics}
    document = RunResult(
        run_id=run_id,
        verdict="ok",
        customer=customer,
        result=result,
        created_at=dt.datetime(2026, 11, 3, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    )
    store.put(layout.run_result(domain, run_id), documents.encode(document), if_none_match=True)


def test_results_that_held_gpus_become_rows(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    held = {"gpus": 4, "gpu_type": "H100", "price_class": "spot", "loss": 0.5}
    _result(store, "train-llm-aa", {**held, "seconds": 90.1})
    _result(store, "evaluate-bb", {**held, "seconds": 2, "gpus": 1})
    _result(store, "train-slm-cpu", {"seconds": 12.5})
    _result(store, "publish-cc", {**held, "seconds": 1})
    _result(store, "train-slm-refused", None)
    rows = sorted(billed_runs(store, {}), key=lambda row: row.run_id)
    assert [(row.run_id, row.kind, row.gpu_ms, str(row.day)) for row in rows] == [
        ("evaluate-bb", "evaluation", 2000, "2026-11-02"),
        ("train-llm-aa", "training", 360_400, "2026-11-02"),
    ]
    assert {(row.customer, row.domain, row.price_class) for row in rows} == {
        ("bank", "ledger", "spot")
    }


def test_gpus_of_an_unknown_kind_cannot_be_billed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    _result(store, "train-slm-aa", {"gpus": 1, "seconds": 5, "price_class": "spot"})
    with pytest.raises(BillingError, match=r"train-slm-aa/result\.json: metrics\.gpu_type"):
        list(billed_runs(store, {}))


_HELD = {"gpus": 1, "gpu_type": "L4", "price_class": "on-demand", "seconds": 5}


def test_a_job_is_written_down_once(tmp_path: Path) -> None:
    registry, warehouse = DirectoryStore(tmp_path / "r"), DirectoryStore(tmp_path / "w")
    _result(registry, "train-slm-aa", _HELD, customer=None)
    collect_runs(registry, warehouse, {"ledger": "bank"})
    _result(registry, "train-slm-bb", _HELD, customer="another")
    collect_runs(registry, warehouse, {"ledger": "a third"})
    assert [(row.run_id, row.customer, row.gpu_ms) for row in read_runs(warehouse)] == [
        ("train-slm-aa", "bank", 5000),
        ("train-slm-bb", "another", 5000),
    ]


def test_domains_are_found_in_the_registry(tmp_path: Path) -> None:
    registry, warehouse = DirectoryStore(tmp_path / "r"), DirectoryStore(tmp_path / "w")
    for number in range(3):
        _result(
            registry,
            "train-slm-aa",
            _HELD,
            domain=f"domain-{number}",
            customer=f"customer-{number}",
        )
    collect_runs(registry, warehouse, {})
    assert {(row.domain, row.customer) for row in read_runs(warehouse)} == {
        (f"domain-{number}", f"customer-{number}") for number in range(3)
    }


def test_gpus_of_nobody_cannot_be_billed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    _result(store, "train-slm-aa", _HELD, customer=None)
    with pytest.raises(
        BillingError, match=r"aa/result\.json: .* domain 'ledger' under `customers`"
    ):
        list(billed_runs(store, {"another": "bank"}))


def test_a_run_that_cannot_be_read_or_lies_elsewhere_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    key = "runs/2026-10/bank-ledger/x.json"
    store.put(key, b"{")
    with pytest.raises(BillingError, match=key):
        read_runs(store)
    write_run(store, run(5, run_id="x"))
    store.put(key, store.get("runs/2026-11/bank-ledger/x.json").data)
    with pytest.raises(BillingError, match="belongs to runs/2026-11/bank-ledger/x"):
        read_runs(store)
