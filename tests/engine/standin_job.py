"""Stand-in for the jobs of a release, for tests of the controller on the real engine.

Differs from the real jobs in that nothing is trained, checked or measured: `train` counts steps for
a second and writes two files of fixed content, `publish` writes the manifest without looking into
them, `evaluate` signs the verdict that the test asked for. `release` is the real job, run as is.
It appends `<run id>` to `executions.log` when it starts, so that tests can count executions, and
obeys `control.json`: {"evaluate": "passed" | "failed", "crash": [run kinds that fail],
"die": [run kinds that end by SIGKILL once], "seconds": float}.
"""

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry import documents, layout
from registry.evaluation import CheckResult, Evaluation, sign, write_evaluation
from registry.job import run_job
from registry.manifest import Manifest, PoolAdapter, adapter_digest, bundle_digest, read_manifest
from registry.names import VersionField
from registry.runs import RunReporter, read_result, upload_adapter
from registry.signing import open_signer
from registry.store import ObjectStore


class StandInConfig(documents.Document):
    registry_uri: str
    domain: str
    run_id: str
    version: VersionField
    directory: Path
    inputs_digest: str
    gate_digest: str
    train_run: str
    evaluation_key: str


def work(config: StandInConfig, store: ObjectStore, reporter: RunReporter) -> None:
    kind = config.run_id.split("-")[0]
    with (config.directory / "executions.log").open("a") as log:
        log.write(f"{config.run_id}\n")
    control = json.loads((config.directory / "control.json").read_text())
    _misbehave(kind, control, config.directory)
    {"dataset": _dataset, "train": _train, "publish": _publish, "evaluate": _evaluate}[kind](
        config, store, reporter, control
    )


def _misbehave(kind: str, control: dict[str, Any], directory: Path) -> None:
    if kind in control.get("crash", []):
        raise OSError(f"{kind}: the test asked for a fault")
    died = directory / f"died-{kind}"
    if kind in control.get("die", []) and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _dataset(_config: Any, _store: Any, reporter: RunReporter, _control: Any) -> None:
    reporter.succeeded({"rows": 500})


def _train(config: StandInConfig, store: Any, reporter: RunReporter, control: Any) -> None:
    steps = 10
    for step in range(steps):
        time.sleep(control.get("seconds", 1.0) / steps)
        reporter.progress(step=step + 1, total=steps, loss=1.0 / (step + 1))
    adapter = config.directory / config.run_id
    adapter.mkdir(exist_ok=True)
    (adapter / layout.ADAPTER_WEIGHTS).write_bytes(config.run_id.encode())
    (adapter / layout.ADAPTER_CONFIG).write_text("{}")
    files = upload_adapter(store, config.domain, config.run_id, adapter)
    reporter.succeeded({"files": files})


def _publish(config: StandInConfig, store: ObjectStore, reporter: RunReporter, _c: Any) -> None:
    result = read_result(store, config.domain, config.train_run)
    assert result is not None
    files = result.result["files"]
    entry = PoolAdapter(
        files=files,
        adapter_digest=adapter_digest(files),
        rank=16,
        target_modules=("q_proj",),
        base_model="llama-8b",
        run_id=config.train_run,
    )
    manifest = Manifest(
        domain=config.domain,
        version=config.version,
        pools={"slm": entry},
        bundle_digest=bundle_digest(config.domain, config.version, {"slm": entry}),
        dataset_digest="sha256:0",
        inputs_digest=config.inputs_digest,
        created_at=datetime.now(UTC),
    )
    key = layout.manifest(config.domain, config.version)
    store.put(key, documents.encode(manifest), if_none_match=True)
    reporter.succeeded({})


def _evaluate(config: StandInConfig, store: Any, reporter: RunReporter, control: Any) -> None:
    manifest = read_manifest(store, config.domain, config.version)
    check = CheckResult(name="domain_test", status=control["evaluate"], score=0.5, reason="asked")
    evaluation = Evaluation(
        domain=config.domain,
        version=config.version,
        bundle_digest=manifest.bundle_digest,
        gate_digest=config.gate_digest,
        checks=(check,),
        created_at=datetime.now(UTC),
    )
    write_evaluation(store, sign(evaluation, open_signer(config.evaluation_key)))
    reporter.succeeded({"status": control["evaluate"]})


if __name__ == "__main__":
    sys.exit(run_job(StandInConfig, work))
