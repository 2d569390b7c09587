"""Properties of the release state machine over any order of events.

The world below runs the real registry (pointer, approvals, verdicts, publish rules of the store)
on a directory; only the work inside the jobs is replaced by its outcome.
"""

import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import approvals, documents, layout
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.evaluation import CheckResult, Evaluation, create_key_pair, sign, write_evaluation
from registry.manifest import (
    Manifest,
    PoolAdapter,
    adapter_digest,
    bundle_digest,
    read_manifest,
)
from registry.names import Version
from registry.observe import observe
from registry.pointer import lift_hold, read_pointer, rollback
from registry.release import Desired, Plan, ReleaseConflictError, Step, plan
from registry.release_job import ReleaseConfig, release
from registry.runs import RunReporter, read_result
from registry.signing import FileSigner
from registry.store import open_store

DOMAIN = "bank-ledger"
TRAININGS = ("sha256:aaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbb")
VERSIONS = tuple(Version(1, minor) for minor in range(4))
GATE = "sha256:cccccccccccccccc"


class ReleaseWorld(RuleBasedStateMachine):
    """A registry, one domain stack, and jobs that end as hypothesis says."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.store = open_store(f"file://{self.directory}/registry")
        create_key_pair(self.directory / "key", self.directory / "pub")
        self.version, self.training = VERSIONS[0], TRAININGS[0]
        self.declared: dict[str, int] = {}
        self.running: dict[str, tuple[Step, Desired]] = {}
        self.trained: Counter[str] = Counter()
        self.faulty_trainings: Counter[str] = Counter()
        self.last: Plan | None = None
        self.rolled_back_from: Version | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @initialize()
    def first_up(self) -> None:
        self.up(retry=False)

    @property
    def desired(self) -> Desired:
        return Desired(
            domain=DOMAIN,
            version=self.version,
            dataset="sha256:dddddddddddddddd",
            training={"slm": self.training},
            gate=GATE,
            approvals_required=2,
        )

    @rule(retry=st.booleans())
    def up(self, *, retry: bool) -> None:
        """As the engine does: create what is newly declared, delete what no longer is."""
        desired = self.desired
        observed = observe(
            self.store, desired, evaluation_public_key=self.directory / "pub", reviewers=None
        )
        try:
            decided = plan(desired, observed, retry=retry)
        except ReleaseConflictError:
            self.last = None
            return
        self.last = decided
        declared = {step.run_id: step.attempt for step in decided.steps}
        for step in decided.steps:
            gone = step.run_id not in self.running and not self._has_result(step)
            if self.declared.get(step.run_id) != step.attempt or gone:
                self.running[step.run_id] = (step, desired)
        for run in set(self.running) - set(declared):
            del self.running[run]
        self.declared = declared

    @rule()
    def settle(self) -> None:
        """Everything that runs ends well, and `up` follows, until the release rests."""
        for _ in range(8):
            for run in sorted(self.running):
                step, desired = self.running.pop(run)
                if not self._has_result(step):
                    reporter = RunReporter(self.store, DOMAIN, run)
                    getattr(self, f"_{step.kind}")(step, desired, reporter, True)
            self.up(retry=False)

    @rule()
    def approve_and_settle(self) -> None:
        """Two experts approve what is configured."""
        for reviewer in "ab":
            self.decide(self.version, reviewer, ok=True)
        self.settle()

    @rule(minor=st.integers(0, 3), training=st.sampled_from(TRAININGS))
    def next_version(self, minor: int, training: str) -> None:
        """A new version, brought as far as it goes."""
        self.version, self.training = VERSIONS[minor], training
        self.approve_and_settle()
        self.approve_and_settle()

    @rule(version=st.sampled_from(VERSIONS), training=st.sampled_from(TRAININGS))
    def edit_config(self, version: Version, training: str) -> None:
        self.version, self.training = version, training

    @precondition(lambda self: self.running)
    @rule(data=st.data(), passes=st.booleans())
    def job_ends(self, data: st.DataObject, *, passes: bool) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        step, desired = self.running.pop(run)
        if read_result(self.store, DOMAIN, run) is not None:
            return
        reporter = RunReporter(self.store, DOMAIN, run)
        getattr(self, f"_{step.kind}")(step, desired, reporter, passes)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), recorded=st.booleans())
    def job_breaks(self, data: st.DataObject, *, recorded: bool) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        step, _ = self.running.pop(run)
        if read_result(self.store, DOMAIN, run) is None:
            reporter = RunReporter(self.store, DOMAIN, run)
            if recorded:
                reporter.failed("fault")
            if step.kind == "train":
                self.faulty_trainings[run] += 1

    @rule(version=st.sampled_from(VERSIONS), reviewer=st.sampled_from("abc"), ok=st.booleans())
    def decide(self, version: Version, reviewer: str, *, ok: bool) -> None:
        try:
            manifest = read_manifest(self.store, DOMAIN, version)
        except NotFoundError:
            return
        approvals.record(
            self.store,
            domain=DOMAIN,
            version=version,
            bundle_digest=manifest.bundle_digest,
            reviewer=reviewer,
            verdict="approve" if ok else "reject",
            comment="",
        )

    @rule()
    def roll_back(self) -> None:
        before = read_pointer(self.store, DOMAIN).live
        try:
            rollback(self.store, DOMAIN, to=None, by="operator", reason="test")
        except RegistryError:
            return
        self.rolled_back_from = before

    @rule()
    def lift(self) -> None:
        try:
            lift_hold(self.store, DOMAIN, by="operator", reason="test")
        except RegistryError:
            return
        self.rolled_back_from = None

    @invariant()
    def unchanged_inputs_are_never_trained_again(self) -> None:
        assert all(count == 1 for count in self.trained.values())

    @invariant()
    def live_has_passed_its_gate_and_has_its_approvals(self) -> None:
        pointer = read_pointer(self.store, DOMAIN)
        for move in pointer.history:
            if move.action != "release":
                continue
            evaluation = documents.read(
                self.store, layout.evaluation(DOMAIN, move.version), Evaluation
            )[0]
            assert evaluation.passed
            assert evaluation.bundle_digest == move.bundle_digest
            decided = [
                decision
                for decision in approvals.read_decisions(self.store, DOMAIN, move.version)
                if decision.at <= move.at
            ]
            count = approvals.tally(decided, bundle_digest=move.bundle_digest, reviewers=None)
            assert count.passed(2)

    @invariant()
    def a_rollback_is_never_undone_while_it_is_held(self) -> None:
        pointer = read_pointer(self.store, DOMAIN)
        if self.rolled_back_from is not None:
            assert pointer.hold is not None
            assert pointer.history[-1].action == "rollback"
            assert pointer.live != self.rolled_back_from

    @invariant()
    def an_up_right_after_an_up_changes_nothing(self) -> None:
        running = set(self.running)
        if self.last is None:
            return
        self.up(retry=False)
        first = dict(self.declared)
        self.up(retry=False)
        assert self.declared == first
        assert set(self.running) >= running & set(self.declared)

    def _has_result(self, step: Step) -> bool:
        return read_result(self.store, DOMAIN, step.run_id) is not None

    def _dataset(self, _step: Step, _d: Desired, reporter: RunReporter, passes: bool) -> None:
        del passes
        reporter.succeeded({})

    def _train(self, step: Step, _desired: Desired, reporter: RunReporter, passes: bool) -> None:
        del passes
        self.trained[step.run_id] += 1
        reporter.succeeded({"files": {"adapter_model.safetensors": f"sha256:{step.run_id}"}})

    def _publish(self, _step: Step, desired: Desired, reporter: RunReporter, passes: bool) -> None:
        if not passes and self.version == VERSIONS[3]:
            reporter.refused("NaN")
            return
        files = {"adapter_model.safetensors": desired.training["slm"]}
        entry = PoolAdapter(
            files=files,
            adapter_digest=adapter_digest(files),
            rank=16,
            target_modules=("q_proj",),
            base_model="llama-8b",
            run_id="train",
        )
        manifest = Manifest(
            domain=DOMAIN,
            version=desired.version,
            pools={"slm": entry},
            bundle_digest=bundle_digest(DOMAIN, desired.version, {"slm": entry}),
            dataset_digest="sha256:d",
            inputs_digest=desired.inputs_digest,
            created_at=datetime.now(UTC),
        )
        try:
            key = layout.manifest(DOMAIN, desired.version)
            self.store.put(key, documents.encode(manifest), if_none_match=True)
        except PreconditionFailedError:
            reporter.refused("another bundle has this version")
            return
        reporter.succeeded({})

    def _evaluate(self, _s: Step, desired: Desired, reporter: RunReporter, passes: bool) -> None:
        manifest = read_manifest(self.store, DOMAIN, desired.version)
        check = CheckResult(name="domain_test", status="passed" if passes else "failed")
        evaluation = Evaluation(
            domain=DOMAIN,
            version=desired.version,
            bundle_digest=manifest.bundle_digest,
            gate_digest=desired.gate,
            checks=(check,),
            created_at=datetime.now(UTC),
        )
        write_evaluation(self.store, sign(evaluation, FileSigner(self.directory / "key")))
        reporter.succeeded({})

    def _release(self, step: Step, desired: Desired, reporter: RunReporter, passes: bool) -> None:
        del passes
        assert step.generation is not None
        manifest = read_manifest(self.store, DOMAIN, desired.version)
        config: dict[str, Any] = {
            "registry_uri": "file:///unused",
            "domain": DOMAIN,
            "version": desired.version,
            "run_id": step.run_id,
            "generation": step.generation,
            "gate_digest": desired.gate,
            "bundle_digest": manifest.bundle_digest,
            "reviewers": None,
            "evaluation_public_key": self.directory / "pub",
            "approvals_required": 2,
        }
        try:
            release(self.store, ReleaseConfig(**config))
        except (RegistryError, PreconditionFailedError) as error:
            reporter.refused(str(error))
            return
        reporter.succeeded({})


ReleaseWorld.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
test_release_world = ReleaseWorld.TestCase
