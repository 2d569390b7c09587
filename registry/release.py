"""The release state machine: from what is wanted and what is there to what to run next.

Pure: no I/O, no clock. `pulumi up` calls it with what it read from the registry and declares the
jobs that it returns; so every `up` is safe at any time, and what is not returned is not run.

A job is named by the hash of what it depends on. As long as those inputs stay, the name stays, the
declared resource stays unchanged, and nothing runs twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from registry import documents
from registry.approvals import Tally
from registry.evaluation import Evaluation
from registry.manifest import Manifest
from registry.names import PoolName, Version
from registry.pointer import Pointer
from registry.runs import RunResult, RunStatus

MAX_FAILURES = 3
"""Infrastructure faults of one run after which it waits for a person."""

StepKind = Literal["dataset", "train", "publish", "evaluate", "release"]


class State(StrEnum):
    """Where a release stands."""

    DATASET = "dataset"
    RUNNING = "running"
    CANDIDATE = "candidate"
    EVALUATED = "evaluated"
    APPROVED = "approved"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"
    REJECTED = "rejected"
    HELD = "held"

    @property
    def resting(self) -> bool:
        """Whether no job is under way or due: the state is final or waits for a person."""
        return self not in {State.DATASET, State.RUNNING, State.CANDIDATE, State.APPROVED}


class ReleaseConflictError(Exception):
    """The configuration contradicts the registry; the message says where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What a domain stack wants. The state machine needs digests only."""

    domain: str
    version: Version
    dataset: str
    """Digest of the dataset step's inputs."""
    training: Mapping[PoolName, str]
    """Digest of everything that changes the weights, for each pool that gets an adapter."""
    gate: str
    """Digest of the gate configuration."""
    approvals_required: int

    @property
    def inputs_digest(self) -> str:
        """Digest of everything that changes the bundle's weights; its manifest records it."""
        return documents.digest(dict(self.training))


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the registry says about a domain and the wanted version."""

    pointer: Pointer
    manifest: Manifest | None = None
    evaluation: Evaluation | None = None
    """Only a verdict whose signature was verified."""
    approvals: Tally = field(default_factory=lambda: Tally((), (), ()))
    statuses: Mapping[str, RunStatus] = field(default_factory=dict)
    results: Mapping[str, RunResult] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One job to declare."""

    kind: StepKind
    run_id: str
    """Name of the job: its kind (and pool) and the hash of what it depends on."""
    attempt: int
    """Faults so far; a change re-creates the job."""
    pool: PoolName | None = None
    generation: int | None = None
    """Release only: the pointer generation that the decision was made on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The state of a release, the jobs to declare in this `up`, and what a person should know."""

    state: State
    steps: tuple[Step, ...]
    pending: tuple[Step, ...] = ()
    """The declared jobs that have no result yet."""
    message: str
    """Why it stands there and what a person can do; empty where the state says it all."""


def run_id(kind: StepKind, digest: str, pool: PoolName | None = None) -> str:
    """Name of a run: `train-slm-3f2a9c41b07d`."""
    short = digest.removeprefix("sha256:")[:12]
    return f"{kind}-{pool}-{short}" if pool else f"{kind}-{short}"


def run_ids(desired: Desired, manifest: Manifest | None, pointer: Pointer) -> list[str]:
    """The runs whose status and result `plan` looks at."""
    ids = [run_id("dataset", desired.dataset), _publish_id(desired)]
    ids += [run_id("train", digest, pool) for pool, digest in desired.training.items()]
    if manifest is not None:
        ids.append(_evaluate_id(manifest, desired.gate))
        ids.append(_release_id(manifest, pointer.generation))
    return ids


def plan(desired: Desired, observed: Observed, *, retry: bool = False) -> Plan:
    """Decide what to declare.

    Steps accumulate: a job stays declared after it is done, so that declaring the next one changes
    nothing about it.

    Args:
        desired: From the stack's configuration.
        observed: From the registry.
        retry: Give runs that used up their attempts another one.

    Raises:
        ReleaseConflictError: The version exists with other inputs or was judged by another gate,
            or is older than what is live, or the registry contradicts itself.
    """
    _refuse_conflicts(desired, observed)
    planner = _Planner(desired, observed, retry=retry)
    return (
        planner.dataset()
        or planner.train()
        or planner.publish()
        or planner.evaluate()
        or planner.release()
    )


class _Planner:
    """Walks the steps in order; each method returns a plan when it stops there."""

    def __init__(self, desired: Desired, observed: Observed, *, retry: bool) -> None:
        self._desired = desired
        self._observed = observed
        self._retry = retry
        self._steps: list[Step] = []

    def dataset(self) -> Plan | None:
        step = self._step("dataset", run_id("dataset", self._desired.dataset))
        return self._stop_unless_done(
            [step], State.DATASET, done=self._observed.manifest is not None
        )

    def train(self) -> Plan | None:
        steps = [
            self._step("train", run_id("train", digest, pool), pool)
            for pool, digest in self._desired.training.items()
        ]
        return self._stop_unless_done(
            steps, State.RUNNING, done=self._observed.manifest is not None
        )

    def publish(self) -> Plan | None:
        step = self._step("publish", _publish_id(self._desired))
        return self._stop_unless_done(
            [step], State.RUNNING, done=self._observed.manifest is not None
        )

    def evaluate(self) -> Plan | None:
        manifest, evaluation = self._observed.manifest, self._observed.evaluation
        if manifest is None:
            raise ReleaseConflictError(
                f"{self._name}: the publish run reports success but there is no manifest: "
                "the registry lost an object; restore it or raise the version"
            )
        gate = evaluation.gate_digest if evaluation else self._desired.gate
        step = self._step("evaluate", _evaluate_id(manifest, gate))
        stopped = self._stop_unless_done([step], State.CANDIDATE, done=evaluation is not None)
        if stopped or evaluation is None or evaluation.passed:
            return stopped
        return self._plan(State.REJECTED, "; ".join(evaluation.failures()) or "no check applied")

    def release(self) -> Plan:
        pointer, version = self._observed.pointer, self._desired.version
        decided_on = pointer.release_generation(version)
        if decided_on is not None:
            # Keep the finished release declared, so that a later `up` changes nothing about it.
            self._declare_release(decided_on)
        if pointer.live == version:
            return self._plan(State.LIVE, "")
        if pointer.hold is not None:
            return self._plan(
                State.HELD,
                f"at {pointer.live} by {pointer.hold.by} ({pointer.hold.reason}); "
                "lift the hold with `pipeline release --lift-hold`",
            )
        if pointer.live is not None and pointer.live > version:
            return self._plan(State.RETIRED, f"{pointer.live} is live and newer than {version}")
        return self._approve(decided_on)

    def _approve(self, decided_on: int | None) -> Plan:
        tally, required = self._observed.approvals, self._desired.approvals_required
        if tally.rejected_by:
            return self._plan(State.REJECTED, f"rejected by {', '.join(tally.rejected_by)}")
        if not tally.passed(required):
            return self._plan(
                State.EVALUATED,
                f"{len(tally.approved_by)} of {required} approvals given: `pipeline approve`",
            )
        if decided_on is not None:
            self._steps.pop()
        step = self._declare_release(self._observed.pointer.generation)
        result = self._observed.results.get(step.run_id)
        if result is not None:
            reason = result.result.get("reason", "it reports success but the pointer did not move")
            return self._plan(State.FAILED, f"the release of {self._name} was refused: {reason}")
        return self._gave_up(step) or self._plan(
            State.APPROVED, f"releasing {self._name}", pending=(step,)
        )

    @property
    def _name(self) -> str:
        return f"{self._desired.domain} {self._desired.version}"

    def _declare_release(self, generation: int) -> Step:
        manifest = self._observed.manifest
        assert manifest is not None  # noqa: S101  evaluate() stopped otherwise
        step = self._step("release", _release_id(manifest, generation), generation=generation)
        self._steps.append(step)
        return step

    def _step(
        self,
        kind: StepKind,
        name: str,
        pool: PoolName | None = None,
        generation: int | None = None,
    ) -> Step:
        status = self._observed.statuses.get(name)
        attempt = status.failures if status else 0
        return Step(kind=kind, run_id=name, pool=pool, attempt=attempt, generation=generation)

    def _stop_unless_done(self, steps: list[Step], state: State, *, done: bool) -> Plan | None:
        self._steps.extend(steps)
        if done:
            return None
        results = {step.run_id: self._observed.results.get(step.run_id) for step in steps}
        refused = [r for r in results.values() if r is not None and r.verdict == "refused"]
        if refused:
            return self._plan(State.REJECTED, "; ".join(str(r.result["reason"]) for r in refused))
        pending = tuple(step for step in steps if results[step.run_id] is None)
        if not pending and state is not State.CANDIDATE:
            return None
        return self._under_way(state, pending)

    def _under_way(self, state: State, pending: tuple[Step, ...]) -> Plan:
        if not pending:
            # The evaluation run is done but left no verdict that this stack may trust.
            return self._plan(
                State.FAILED, f"{self._name}: the evaluation run left no verdict in the registry"
            )
        for step in pending:
            if gave_up := self._gave_up(step):
                return gave_up
        names = ", ".join(step.run_id for step in pending)
        return self._plan(state, f"{names} pending", pending=pending)

    def _gave_up(self, step: Step) -> Plan | None:
        """Stop declaring a run that used up its attempts, so that nothing starts it again."""
        status = self._observed.statuses.get(step.run_id)
        if status is None or not _exhausted(status) or self._retry:
            return None
        self._steps.remove(step)
        return self._plan(
            State.FAILED,
            f"{step.run_id} failed {status.failures} times: {status.message}; "
            "try again with `pipeline up --retry`",
        )

    def _plan(self, state: State, message: str, pending: tuple[Step, ...] = ()) -> Plan:
        return Plan(state=state, steps=tuple(self._steps), pending=pending, message=message)


def _refuse_conflicts(desired: Desired, observed: Observed) -> None:
    name = f"{desired.domain} {desired.version}"
    manifest, evaluation, pointer = observed.manifest, observed.evaluation, observed.pointer
    if manifest is None:
        _refuse_missing_manifest(name, desired.version, pointer)
        return
    if manifest.inputs_digest != desired.inputs_digest:
        raise ReleaseConflictError(
            f"{name} exists in the registry with other training inputs ("
            f"{_short(manifest.inputs_digest)}, configured: {_short(desired.inputs_digest)}): "
            "versions are immutable, set `version` to a new one or restore the old inputs"
        )
    released = pointer.bundle_digest(desired.version)
    if released is not None and released != manifest.bundle_digest:
        raise ReleaseConflictError(
            f"{name} was released as bundle {_short(released)} but its manifest is "
            f"{_short(manifest.bundle_digest)}: the registry was altered"
        )
    if evaluation is None:
        return
    if evaluation.bundle_digest != manifest.bundle_digest:
        raise ReleaseConflictError(
            f"{name}: its evaluation judges another bundle: it does not count"
        )
    if evaluation.gate_digest != desired.gate and released is None:
        raise ReleaseConflictError(
            f"{name} was evaluated under another gate configuration "
            f"({_short(evaluation.gate_digest)}, now {_short(desired.gate)}): "
            "restore `gate` or set `version` to a new one (unchanged inputs are not trained again)"
        )


def _refuse_missing_manifest(name: str, version: Version, pointer: Pointer) -> None:
    if pointer.live is None:
        return
    if pointer.bundle_digest(version) is not None:
        raise ReleaseConflictError(f"{name} was released but its manifest is gone: restore it")
    newest = max(move.version for move in pointer.history)
    if version < newest:
        raise ReleaseConflictError(
            f"{name} is older than {newest}, which was released: set `version` above {newest}, "
            "or go back to a released version with `pipeline rollback`"
        )


def _exhausted(status: RunStatus) -> bool:
    return status.state == "failed" and status.failures >= MAX_FAILURES


def _publish_id(desired: Desired) -> str:
    identity = {"version": str(desired.version), "inputs": desired.inputs_digest}
    return run_id("publish", documents.digest(identity))


def _evaluate_id(manifest: Manifest, gate: str) -> str:
    return run_id("evaluate", documents.digest({"bundle": manifest.bundle_digest, "gate": gate}))


def _release_id(manifest: Manifest, generation: int) -> str:
    identity = {"bundle": manifest.bundle_digest, "generation": generation}
    return run_id("release", documents.digest(identity))


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
