"""The training job on a tiny random model: result, interruption, refusals."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from registry.adapter_check import base_linear_modules, check_adapter
from registry.layout import run_adapter_file
from registry.runs import read_result, read_status
from registry.store import open_store
from tests.training_jobs.train_env.tiny import write_base, write_pairs

STEPS = 40
_STEP = re.compile(r"^step (\d+)/\d+ loss (\S+) ", re.MULTILINE)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


def _config(root, base, run_id="run-1", **changes):
    pairs = root / "train.jsonl"
    digest = write_pairs(pairs)
    config = {
        "registry_uri": f"file://{root / 'registry'}",
        "domain": "words",
        "customer": "customer-words",
        "run_id": run_id,
        "engine": "peft",
        "method": "lora",
        "rank": 4,
        "alpha": 8,
        "dropout": 0.05,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "max_seq_length": 64,
        "learning_rate": 0.01,
        "steps": STEPS,
        "batch_size": 4,
        "seed": 3,
        "train_path": str(pairs),
        "dataset_digest": digest,
        "base_directory": str(base),
        "work_directory": str(root / "work" / run_id),
        "mlflow_url": None,
        "experiment": "training/words",
        **changes,
    }
    path = root / f"{run_id}.json"
    path.write_text(json.dumps(config))
    return path


def _start(config):
    return subprocess.Popen(
        [sys.executable, "-m", "training_jobs.train", "--config", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _run(config):
    process = _start(config)
    _, log = process.communicate(timeout=550)
    return process.returncode, log


def _losses(log):
    return {int(step): float(loss) for step, loss in _STEP.findall(log)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, base):
    """A run that nothing interrupts: its folder and its log."""
    root = tmp_path_factory.mktemp("whole")
    status, log = _run(_config(root, base))
    assert status == 0, log
    return root, log


def _store(root):
    return open_store(f"file://{root / 'registry'}")


def test_training_learns_and_stores_an_acceptable_adapter(whole, base):
    root, log = whole
    losses = _losses(log)
    assert losses[STEPS] < losses[min(losses)]
    result = read_result(_store(root), "words", "run-1").result
    assert result["metrics"]["gpus"] == torch.cuda.device_count()
    directory = root / "work" / "run-1" / "adapter"
    facts = check_adapter(directory, rank=4, base_modules=base_linear_modules(base))
    assert sorted(facts.target_modules) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    for name in result["files"]:
        stored = _store(root).get(run_adapter_file("words", "run-1", name)).data
        assert stored == (directory / name).read_bytes()


def test_a_finished_run_is_not_repeated(whole):
    root, _ = whole
    status, log = _run(root / "run-1.json")
    assert status == 0
    assert not _losses(log)
    assert "a result exists" in log


def test_a_stopped_run_goes_on_from_its_checkpoint_to_the_same_adapter(tmp_path, base, whole):
    config = _config(tmp_path, base)
    first = _start(config)
    log = ""
    for line in first.stderr:
        log += line
        if line.startswith("step 15/"):
            first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=300) == -signal.SIGTERM
    assert read_result(_store(tmp_path), "words", "run-1") is None
    assert STEPS not in _losses(log)

    status, rest = _run(config)
    assert status == 0, rest
    assert min(_losses(rest)) > 15
    assert read_status(_store(tmp_path), "words", "run-1").starts == 2
    # The steps after the checkpoint saw the same batches and the same dropout.
    expected = load_file(whole[0] / "work" / "run-1" / "adapter" / "adapter_model.safetensors")
    found = load_file(tmp_path / "work" / "run-1" / "adapter" / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert all(found[name].allclose(expected[name], atol=1e-5) for name in found)
    tail = {step: loss for step, loss in _losses(rest).items() if step >= 25}
    assert tail
    assert tail == {step: loss for step, loss in _losses(whole[1]).items() if step in tail}


def test_other_data_than_the_stack_names_is_refused(tmp_path, base):
    config = _config(tmp_path, base, dataset_digest="sha256:" + "0" * 64)
    status, _ = _run(config)
    assert status == 0
    result = read_result(_store(tmp_path), "words", "run-1")
    assert result.verdict == "refused"
    assert "train.jsonl: its digest is" in result.result["reason"]


def test_an_unknown_key_names_file_and_key(tmp_path, base):
    status, log = _run(_config(tmp_path, base, learning_speed=1))
    assert status == 2
    assert "run-1.json: learning_speed" in log
