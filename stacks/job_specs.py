"""The jobs of a release as workloads: which module runs in which environment with which file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.adapter_release import JobOf
from registry.documents import Document
from registry.names import PoolName, served_name
from registry.publish import PoolSource, PublishConfig
from registry.release import Desired, Observed, Step, StepKind, run_id
from registry.release_job import ReleaseConfig
from stacks.config.domain import TrainedDomain
from stacks.contract import EnvironmentContract
from stacks.release_inputs import desired_release
from stacks.telemetry import NO_TELEMETRY
from substrates.substrate import JobSubstrate
from substrates.workload import Job
from training_jobs.dataset_config import DatasetConfig
from training_jobs.evaluate_config import EvaluateConfig
from training_jobs.train.config import TrainConfig

# Environment, and module, of each kind of step.
_PROGRAMS: dict[StepKind, tuple[str, str]] = {
    "dataset": ("train", "training_jobs.dataset"),
    "train": ("train", "training_jobs.train"),
    "publish": ("train", "registry.publish"),
    "evaluate": ("train", "training_jobs.evaluate"),
    "release": ("infra", "registry.release_job"),
}


def jobs(
    domain: TrainedDomain,
    contract: EnvironmentContract,
    substrate: JobSubstrate,
    observed: Observed,
) -> JobOf:
    """Render the steps of one domain's release."""
    return JobSpecs(domain, contract, substrate, observed).job


def training_experiment(domain: str) -> str:
    """MLflow's experiment for the training runs of a domain."""
    return f"training/{domain}"


def inputs_of(
    kind: StepKind, domain: TrainedDomain, contract: EnvironmentContract
) -> tuple[str, ...]:
    """What the jobs of a kind read before they start: URIs, or paths of a local environment."""
    dataset = domain.dataset
    bases = [contract.pools[pool].base_model for pool in domain.adapters]
    uris: dict[StepKind, tuple[str, ...]] = {
        "dataset": (dataset.uri, dataset.heldout_uri, *bases),
        "train": (dataset.uri, *bases),
        "publish": tuple(bases),
        "evaluate": (dataset.uri, dataset.heldout_uri),
        "release": (),
    }
    return tuple(dict.fromkeys(uris[kind]))


@dataclass(frozen=True)
class JobSpecs:
    """Renders steps as jobs."""

    domain: TrainedDomain
    contract: EnvironmentContract
    substrate: JobSubstrate
    observed: Observed

    def job(self, step: Step) -> Job:
        """The job of a step."""
        image, module = _PROGRAMS[step.kind]
        name = f"{self.domain.name}-{step.run_id}"
        config = self._config(step)
        return Job(
            name=name,
            image=image,
            role=step.kind,
            command=(
                self.substrate.python(image),
                "-m",
                module,
                "--config",
                self.substrate.file(name, "config.json"),
            ),
            environment=NO_TELEMETRY,
            files={"config.json": config.model_dump_json(indent=2)},
            inputs=inputs_of(step.kind, self.domain, self.contract),
            accelerated=step.kind == "train",
            attempt=step.attempt,
        )

    def _config(self, step: Step) -> Document:
        renderers: dict[StepKind, Callable[[Step], Document]] = {
            "dataset": self._dataset,
            "train": self._train,
            "publish": self._publish,
            "evaluate": self._evaluate,
            "release": self._release,
        }
        return renderers[step.kind](step)

    def _dataset(self, step: Step) -> DatasetConfig:
        dataset = self.domain.dataset
        return DatasetConfig(
            registry_uri=self.contract.registry_uri,
            domain=self.domain.name,
            run_id=step.run_id,
            train_path=self._path(dataset.uri),
            train_digest=dataset.digest,
            heldout_path=self._path(dataset.heldout_uri),
            heldout_digest=dataset.heldout_digest,
            min_reviewed=dataset.min_reviewed,
            max_seq_length=min(t.max_seq_length for t in self.domain.adapters.values()),
            tokenizer_directory=self._path(self.contract.pools["slm"].base_model),
            collector=dataset.collector,
        )

    def _train(self, step: Step) -> TrainConfig:
        pool = _pool(step)
        training = self.domain.adapters[pool]
        return TrainConfig(
            registry_uri=self.contract.registry_uri,
            domain=self.domain.name,
            customer=self.domain.customer,
            run_id=step.run_id,
            **training.model_dump(),
            train_path=self._path(self.domain.dataset.uri),
            dataset_digest=self.domain.dataset.digest,
            base_directory=self._path(self.contract.pools[pool].base_model),
            work_directory=Path(self.substrate.data("work", self.domain.name, step.run_id)),
            mlflow_url=self.contract.mlflow_url,
            experiment=training_experiment(self.domain.name),
        )

    def _publish(self, step: Step) -> PublishConfig:
        desired = self._desired
        return PublishConfig(
            registry_uri=self.contract.registry_uri,
            domain=self.domain.name,
            version=self.domain.version,
            run_id=step.run_id,
            inputs_digest=desired.inputs_digest,
            dataset_digest=self.domain.dataset.digest,
            pools={pool: self._source(pool, desired) for pool in self.domain.pools},
        )

    def _evaluate(self, step: Step) -> EvaluateConfig:
        domain = self.domain
        pool = next(iter(domain.adapters))
        contract = self.contract.pools[pool]
        live = self.observed.pointer.live
        return EvaluateConfig(
            registry_uri=self.contract.registry_uri,
            domain=domain.name,
            customer=domain.customer,
            version=domain.version,
            run_id=step.run_id,
            openai_url=contract.openai_url,
            served_name=served_name(domain.name, domain.version),
            base_name=contract.served_model_name,
            live_name=None if live in (None, domain.version) else served_name(domain.name, live),
            train_path=self._path(domain.dataset.uri),
            train_digest=domain.dataset.digest,
            heldout_path=self._path(domain.dataset.heldout_uri),
            heldout_digest=domain.dataset.heldout_digest,
            metric=domain.gate.domain_test.metric,
            rows=domain.gate.domain_test.rows,
            max_tokens=domain.gate.domain_test.max_tokens,
            margin=domain.gate.domain_test_margin,
            gate_digest=self._desired.gate,
            evaluation_key=self.contract.evaluation_key,
            off=dict(domain.gate.not_applicable),
        )

    def _release(self, step: Step) -> ReleaseConfig:
        manifest, evaluation = self.observed.manifest, self.observed.evaluation
        if manifest is None or evaluation is None or step.generation is None:
            raise ValueError(f"{step.run_id}: a release step without manifest and verdict")
        names = self.domain.gate.experts.names
        return ReleaseConfig(
            registry_uri=self.contract.registry_uri,
            domain=self.domain.name,
            version=self.domain.version,
            run_id=step.run_id,
            generation=step.generation,
            bundle_digest=manifest.bundle_digest,
            gate_digest=evaluation.gate_digest,
            evaluation_public_key=Path(self.contract.evaluation_public_key),
            reviewers=None if names == "anyone" else names,
            approvals_required=self.domain.gate.experts.required,
        )

    def _source(self, pool: PoolName, desired: Desired) -> PoolSource | None:
        training = self.domain.adapters.get(pool)
        if training is None:
            return None
        contract = self.contract.pools[pool]
        return PoolSource(
            run_id=run_id("train", desired.training[pool], pool),
            rank=training.rank,
            base_model=contract.served_model_name,
            base_directory=self._path(contract.base_model),
        )

    def _path(self, uri: str) -> Path:
        return Path(self.substrate.input(uri))

    @property
    def _desired(self) -> Desired:
        return desired_release(self.domain, self.contract)


def _pool(step: Step) -> PoolName:
    if step.pool is None:
        raise ValueError(f"{step.run_id}: a training step without a pool")
    return step.pool
