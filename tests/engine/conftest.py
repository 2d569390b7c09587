"""A world for the release controller: the real engine and supervisor, stand-in jobs."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.adapter_release import JobOf
from registry import approvals
from registry.evaluation import create_key_pair
from registry.manifest import read_manifest
from registry.names import Version
from registry.pointer import Pointer, read_pointer
from registry.release import Observed, Step, run_id
from registry.release_job import ReleaseConfig
from registry.runs import RunStatus
from registry.store import ObjectStore, open_store
from serving.router.tenancy import TenancyRecord
from stacks.config.domain import TrainedDomain
from stacks.config.environment import AdapterContract
from stacks.config.load import DomainStack, parse
from stacks.contract import EnvironmentContract, LocalPlace, PoolContract
from stacks.driver import Driver, Release
from stacks.engine import open_stack
from stacks.paths import ROOT, StateDirectory
from stacks.release_inputs import desired_release
from substrates.local.supervisor import Supervisor
from substrates.substrate import Substrate
from substrates.workload import Job

DOMAIN = "bank-ledger"
DIGEST = "sha256:" + "0" * 64


@dataclass
class Recorder:
    """Collects what the driver reports."""

    releases: list[Release] = field(default_factory=list)
    statuses: list[RunStatus] = field(default_factory=list)

    def engine(self, stack: str, event: Any) -> None:
        del stack, event

    def released(self, release: Release) -> None:
        self.releases.append(release)

    def progress(self, domain: str, statuses: Iterable[RunStatus]) -> None:
        del domain
        self.statuses.extend(statuses)


class World:
    """One environment stack `local` (a contract and no processes) and one domain stack."""

    def __init__(self, directory: Path, *, fresh: bool = True) -> None:
        self.directory = directory
        self.state = StateDirectory(directory / "state")
        self.home = self.state.home("local")
        self.home.mkdir(parents=True, exist_ok=True)
        self.key = directory / "evaluation.key"
        if fresh:
            create_key_pair(self.key, directory / "evaluation.pub")
        self.contract = EnvironmentContract(
            environment="local",
            phase=4,
            place=LocalPlace(home=str(self.home), state_directory=str(self.state.path)),
            registry_uri=f"file://{self.state.path}/registry",
            evaluation_key=str(self.key),
            evaluation_public_key=str(directory / "evaluation.pub"),
            mlflow_url="http://127.0.0.1:1",
            edge_url="http://127.0.0.1:1",
            namespace="test",
            gateway="edge",
            router_service="router",
            router_port=8081,
            pools={
                "slm": PoolContract(
                    served_model_name="llama-8b",
                    base_id="tiny",
                    base_model="/nowhere",
                    openai_url="http://127.0.0.1:1/v1",
                )
            },
            adapter_pools=("slm",),
            adapters=AdapterContract(),
        )
        self.store: ObjectStore = open_store(self.contract.registry_uri)
        self.module = "tests.engine.standin_job"
        self.recorder = Recorder()
        self.driver = Driver(self.state, jobs=self.jobs, observer=self.recorder)
        if fresh:
            self.control(evaluate="passed")

    def control(self, **values: Any) -> None:
        (self.directory / "control.json").write_text(json.dumps(values))

    def environment_up(self) -> None:
        def program() -> None:
            pulumi.export("contract", self.contract.model_dump(mode="json"))

        stack = open_stack("local", program=program, config={}, state=self.state)
        stack.up()

    def config(self, **changes: Any) -> dict[str, Any]:
        domain: dict[str, Any] = {
            "name": DOMAIN,
            "customer": "customer-bank-A",
            "version": "v1.0",
            "dataset": {
                "uri": "a",
                "digest": DIGEST,
                "heldout_uri": "b",
                "heldout_digest": DIGEST,
            },
            "pools": {
                "slm": {"steps": 10},
            },
            "gate": {
                "domain_test": {"metric": "java_exact"},
                "not_applicable": {
                    "faithfulness": "the test has no documents",
                    "swe_bench_resolved": "the test has no repositories",
                    "garak_critical": "the test has no model",
                },
                "experts": {"names": "anyone", "required": 2},
            },
            "routing": {},
        }
        return {
            "pipeline:kind": "domain",
            "pipeline:environment": "local",
            "pipeline:domain": {**domain, **changes},
        }

    def stack(self, config: dict[str, Any]) -> DomainStack:
        return self.stack_named(config, f"local-{DOMAIN}")

    def stack_named(self, config: dict[str, Any], name: str) -> DomainStack:
        stack = parse(config, name, "test")
        assert isinstance(stack, DomainStack)
        return stack

    def up(self, *, once: bool = False, retry: bool = False, **changes: Any) -> Release:
        config = self.config(**changes)
        run = self.driver.up_once if once else self.driver.up
        return run(self.stack(config), config, retry=retry)

    def approve(self, version: str = "v1.0", *reviewers: str, verdict: Any = "approve") -> None:
        manifest = read_manifest(self.store, DOMAIN, Version.parse(version))
        for reviewer in reviewers or ("demo-a", "demo-b"):
            approvals.record(
                self.store,
                domain=DOMAIN,
                version=manifest.version,
                bundle_digest=manifest.bundle_digest,
                reviewer=reviewer,
                verdict=verdict,
                comment="",
            )

    def executions(self, kind: str) -> int:
        log = self.directory / "executions.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum(line.startswith(f"{kind}-") for line in lines)

    def pointer(self) -> Pointer:
        return read_pointer(self.store, DOMAIN)

    def answered_by(self) -> str:
        """What the tenancy record says."""
        return self._record().answered_by

    def key_hashes(self) -> tuple[str, ...]:
        """Of the keys that the router takes."""
        return self._record().key_hashes

    def _record(self) -> TenancyRecord:
        path = self.home / "domains" / f"{DOMAIN}.json"
        return TenancyRecord.model_validate_json(path.read_text())

    def live(self) -> str | None:
        live = self.pointer().live
        return None if live is None else str(live)

    def jobs(
        self,
        domain: TrainedDomain,
        contract: EnvironmentContract,
        _s: Substrate,
        observed: Observed,
    ) -> JobOf:
        return partial(self._job, domain, contract, observed)

    def _job(
        self, domain: TrainedDomain, contract: EnvironmentContract, observed: Observed, step: Step
    ) -> Job:
        desired = desired_release(domain, contract)
        name = f"{domain.name}-{step.run_id}"
        if step.kind == "release":
            module, content = "registry.release_job", self._release(desired, observed, step)
        else:
            module = self.module
            content = json.dumps(
                {
                    "registry_uri": contract.registry_uri,
                    "domain": domain.name,
                    "run_id": step.run_id,
                    "version": str(domain.version),
                    "directory": str(self.directory),
                    "inputs_digest": desired.inputs_digest,
                    "gate_digest": desired.gate,
                    "evaluation_key": contract.evaluation_key,
                    "train_run": run_id("train", desired.training["slm"], "slm"),
                }
            )
        config = self.home / "workloads" / name / "files" / "config.json"
        return Job(
            image="infra",
            role=step.kind,
            name=name,
            command=(sys.executable, "-m", module, "--config", str(config)),
            environment={"PYTHONPATH": str(ROOT)},
            files={"config.json": content},
            attempt=step.attempt,
        )

    def _release(self, desired: Any, observed: Observed, step: Step) -> str:
        assert observed.manifest is not None
        assert step.generation is not None
        return ReleaseConfig(
            registry_uri=self.contract.registry_uri,
            domain=desired.domain,
            version=desired.version,
            run_id=step.run_id,
            generation=step.generation,
            bundle_digest=observed.manifest.bundle_digest,
            gate_digest=desired.gate,
            evaluation_public_key=Path(self.contract.evaluation_public_key),
            reviewers=None,
            approvals_required=desired.approvals_required,
        ).model_dump_json()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.environment_up()
    yield made
    Supervisor(made.home).shutdown()
