"""Every step of a release as a job: its program, and a configuration that its module accepts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry import documents
from registry.documents import Document
from registry.evaluation import Evaluation
from registry.manifest import Manifest
from registry.names import Version
from registry.pointer import Move, Pointer
from registry.publish import PublishConfig
from registry.release import Observed, Step, StepKind
from registry.release_job import ReleaseConfig
from stacks.config.load import DomainStack, EnvironmentStack, load
from stacks.job_specs import jobs
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT, StateDirectory
from stacks.release_inputs import desired_release
from substrates.local.substrate import LocalSubstrate
from training_jobs.dataset_config import DatasetConfig
from training_jobs.evaluate_config import EvaluateConfig
from training_jobs.train.config import TrainConfig

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STATE = StateDirectory(Path("/state"))
MODELS: dict[StepKind, type[Document]] = {
    "dataset": DatasetConfig,
    "train": TrainConfig,
    "publish": PublishConfig,
    "evaluate": EvaluateConfig,
    "release": ReleaseConfig,
}


def observed_release(domain: str, version: Version, gate: str) -> Observed:
    manifest = Manifest(
        domain=domain,
        version=version,
        pools={},
        bundle_digest="sha256:b",
        dataset_digest="sha256:d",
        inputs_digest="sha256:i",
        created_at=NOW,
    )
    evaluation = Evaluation(
        domain=domain,
        version=version,
        bundle_digest="sha256:b",
        gate_digest=gate,
        checks=(),
        created_at=NOW,
    )
    live = Version(0, 9)
    move = Move(
        generation=1, action="release", version=live, bundle_digest="x", by="x", reason="", at=NOW
    )
    pointer = Pointer(domain=domain, live=live, generation=1, history=(move,))
    return Observed(pointer=pointer, manifest=manifest, evaluation=evaluation)


@pytest.mark.parametrize("stack", ["local-platform-docs", "local-bank-ledger"])
@pytest.mark.parametrize("kind", list(MODELS))
def test_each_step_of_a_shipped_stack_is_a_job_with_a_valid_configuration(
    stack: str, kind: StepKind
) -> None:
    environment, domain = load(ROOT / "stacks", "local"), load(ROOT / "stacks", stack)
    assert isinstance(environment, EnvironmentStack)
    assert isinstance(domain, DomainStack)
    substrate = LocalSubstrate(root=ROOT, home=STATE.home("local"))
    contract = LocalWorkloads(environment.environment, STATE, substrate).contract
    config = domain.domain
    gate = desired_release(config, contract).gate
    observed = observed_release(config.name, config.version, gate)
    step = Step(
        kind=kind,
        run_id=f"{kind}-0123456789ab",
        attempt=2,
        pool="slm" if kind == "train" else None,
        generation=1 if kind == "release" else None,
    )
    job = jobs(config, contract, substrate, observed)(step)
    assert job.name == f"{config.name}-{kind}-0123456789ab"
    assert job.attempt == 2
    assert "-m" in job.command
    assert job.environment["HF_HUB_OFFLINE"] == "1"
    content = job.files["config.json"]
    parsed = documents.decode(content.encode(), MODELS[kind], "config.json")
    assert parsed.model_dump()["run_id"] == step.run_id
    if isinstance(parsed, TrainConfig | EvaluateConfig):
        assert parsed.customer == config.customer
    if isinstance(parsed, EvaluateConfig):
        assert parsed.live_name == f"{config.name}-v0.9"
        assert parsed.heldout_digest == config.dataset.heldout_digest
    if isinstance(parsed, ReleaseConfig):
        assert (parsed.gate_digest, parsed.generation, parsed.approvals_required) == (gate, 1, 2)
