"""What a job says of its GPUs is what billing reads. PyTorch is told which GPUs there are."""

import pytest
import torch

from registry.runs import RunReporter
from registry.store import open_store
from serving.billing.runs import billed_runs
from training_jobs.gpus import PRICE_CLASS_VARIABLE, held_gpus


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(("bought", "price_class"), [(None, "on-demand"), ("spot", "spot")])
def test_gpus_are_billed_by_type_and_price_class(
    tmp_path, monkeypatch, two_gpus, bought, price_class
):
    monkeypatch.delenv(PRICE_CLASS_VARIABLE, raising=False)
    if bought is not None:
        monkeypatch.setenv(PRICE_CLASS_VARIABLE, bought)
    store = open_store(f"file://{tmp_path}")
    metrics = {"seconds": 90.1, **held_gpus()}
    reporter = RunReporter(store, "words", "train-slm-aa", customer="bank")
    reporter.succeeded({"metrics": metrics})
    (run,) = billed_runs(store, {})
    held = ("bank", "NVIDIA-H100-80GB-HBM3", price_class)
    assert (run.customer, run.gpu_type, run.price_class) == held
    assert run.gpu_ms == 180_200


def test_another_price_class_is_refused(monkeypatch, two_gpus):
    monkeypatch.setenv(PRICE_CLASS_VARIABLE, "reserved")
    with pytest.raises(ValueError, match="PIPELINE_PRICE_CLASS='reserved': use spot or on-demand"):
        held_gpus()
