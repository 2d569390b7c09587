"""What every job leaves in the registry."""

import json
import sys
from pathlib import Path

import pytest

from registry.directory_store import DirectoryStore
from registry.documents import Document
from registry.job import run_job
from registry.runs import RunReporter, read_result
from registry.store import ObjectStore


class BilledConfig(Document):
    """Of a job that somebody is billed for."""

    registry_uri: str
    domain: str
    run_id: str
    customer: str


class OtherConfig(Document):
    """Of a job that nobody is billed for."""

    registry_uri: str
    domain: str
    run_id: str


@pytest.mark.parametrize(
    ("model", "customer"), [(BilledConfig, "customer-bank-A"), (OtherConfig, None)]
)
def test_a_result_names_who_is_billed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: type[Document],
    customer: str | None,
) -> None:
    def work(config: Document, store: ObjectStore, reporter: RunReporter) -> None:
        del config, store
        reporter.succeeded({"metrics": {}})

    registry = tmp_path / "registry"
    content = {"registry_uri": registry.as_uri(), "domain": "ledger", "run_id": "train-slm-aa"}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(content | ({"customer": customer} if customer else {})))
    monkeypatch.setattr(sys, "argv", ["job", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        run_job(model, work)
    assert ended.value.code == 0
    result = read_result(DirectoryStore(registry), "ledger", "train-slm-aa")
    assert result is not None
    assert result.customer == customer
