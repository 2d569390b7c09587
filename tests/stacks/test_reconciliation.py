"""What is sampled and compared in a local environment, and the command over it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.reconciliation.config import (
    AdapterSyncSource,
    MlflowTraces,
    ReconciliationConfig,
    RouterSource,
    VllmSource,
)
from serving.router.config import RouterConfig
from serving.tracing.config import MlflowTarget
from stacks.cli.app import app
from stacks.cli.project import Project
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT
from substrates.local.substrate import LocalSubstrate


@pytest.fixture
def workloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalWorkloads:
    monkeypatch.setenv("PIPELINE_STATE_DIR", str(tmp_path))
    project = Project.default()
    stack = project.environment("local")
    substrate = LocalSubstrate(root=ROOT, home=project.state.home(stack.name))
    return LocalWorkloads(stack.environment, project.state, substrate)


def test_the_sampler_reads_what_the_other_workloads_serve(workloads: LocalWorkloads) -> None:
    service = workloads.sampler()
    config = ReconciliationConfig.model_validate_json(service.files["config.json"])
    assert config == workloads.reconciliation
    assert service.command[-1] == workloads.substrate.file("sampler", "config.json")
    ports = {type(source): int(source.url.rpartition(":")[2]) for source in config.sources}
    assert ports == {
        VllmSource: workloads.vllm().ports["http"],
        AdapterSyncSource: workloads.adapter_sync().ports["http"],
        RouterSource: workloads.router().ports["http"],
    }
    router = RouterConfig.model_validate_json(workloads.router().files["config.json"])
    (vllm,) = config.counted
    assert set(vllm.pools) == set(router.pools)
    assert router.tracing is not None
    assert isinstance(config.traces, MlflowTraces)
    assert isinstance(router.tracing.target, MlflowTarget)
    assert config.traces.url == router.tracing.target.url
    assert config.traces.experiment == router.tracing.target.experiment
    assert config.trace_retry_for_s == router.tracing.retry_for_s
    assert config.trace_timeout_s == router.tracing.timeout_s
    assert config.request_timeout_s == router.limits.request_timeout_s


def test_the_server_is_started_with_the_length_that_bounds_its_requests(
    workloads: LocalWorkloads,
) -> None:
    command = workloads.vllm().command
    (vllm,) = workloads.reconciliation.counted
    assert command[command.index("--max-model-len") + 1] == str(vllm.max_model_len)


@pytest.mark.usefixtures("workloads")
def test_reconciling_what_was_never_sampled_is_status_2() -> None:
    times = ["--from", "2026-11-25T00:00:00Z", "--to", "2026-11-25T08:00:00Z"]
    result = CliRunner().invoke(app, ["reconcile", *times])
    assert result.exit_code == 2
    assert "source vllm" in result.stderr
    assert "it was never sampled" in result.stderr
