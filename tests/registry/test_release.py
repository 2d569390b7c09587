"""Decisions of the release state machine that are easier to read as examples."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.approvals import Decision, tally
from registry.errors import RegistryError
from registry.evaluation import CheckResult, Evaluation
from registry.manifest import Manifest, PoolAdapter, bundle_digest
from registry.names import Version
from registry.pointer import Move, Pointer, lift_hold, read_pointer, rollback
from registry.pointer import release as move_pointer
from registry.release import (
    MAX_FAILURES,
    Desired,
    Observed,
    ReleaseConflictError,
    State,
    plan,
    run_id,
)
from registry.runs import RunResult, RunStatus
from registry.store import open_store

NOW = datetime(2026, 11, 1, tzinfo=UTC)
V10, V11 = Version(1, 0), Version(1, 1)


def _desired(
    version: Version = V10, training: str = "sha256:aa", gate: str = "sha256:g"
) -> Desired:
    return Desired(
        domain="bank-ledger",
        version=version,
        dataset="sha256:dd",
        training={"slm": training},
        gate=gate,
        approvals_required=2,
    )


def _manifest(desired: Desired, weights: str = "sha256:w") -> Manifest:
    entry = PoolAdapter(
        files={},
        adapter_digest=weights,
        rank=16,
        target_modules=("q_proj",),
        base_model="llama-8b",
        run_id="train",
    )
    return Manifest(
        domain=desired.domain,
        version=desired.version,
        pools={"slm": entry},
        bundle_digest=bundle_digest(desired.domain, desired.version, {"slm": entry}),
        dataset_digest="sha256:d",
        inputs_digest=desired.inputs_digest,
        created_at=NOW,
    )


def _evaluation(desired: Desired, *statuses: str, bundle: str | None = None) -> Evaluation:
    checks = tuple(
        CheckResult(name=f"check-{number}", status=status, reason="asked")  # type: ignore[arg-type]
        for number, status in enumerate(statuses)
    )
    return Evaluation(
        domain=desired.domain,
        version=desired.version,
        gate_digest=desired.gate,
        checks=checks,
        bundle_digest=bundle or _manifest(desired).bundle_digest,
        created_at=NOW,
    )


def _status(run: str, state: str, failures: int) -> RunStatus:
    return RunStatus(
        run_id=run,
        state=state,
        starts=failures,
        failures=failures,
        message="disk full",  # type: ignore[arg-type]
        host="h",
        pid=1,
        started_at=NOW,
        updated_at=NOW,
    )


def _released(desired: Desired) -> Pointer:
    move = Move(
        generation=1,
        action="release",
        version=desired.version,
        by="x",
        reason="y",
        at=NOW,
        bundle_digest=_manifest(desired).bundle_digest,
    )
    return Pointer(domain=desired.domain, live=desired.version, generation=1, history=(move,))


def _empty() -> Pointer:
    return Pointer(domain="bank-ledger")


def test_nothing_but_the_dataset_check_runs_first() -> None:
    decided = plan(_desired(), Observed(pointer=_empty()))
    assert decided.state is State.DATASET
    assert [step.kind for step in decided.steps] == ["dataset"]


def test_a_refused_dataset_is_the_end() -> None:
    run = run_id("dataset", "sha256:dd")
    result = RunResult(
        run_id=run, verdict="refused", result={"reason": "pairs.jsonl:3: not JSON"}, created_at=NOW
    )
    decided = plan(_desired(), Observed(pointer=_empty(), results={run: result}))
    assert decided.state is State.REJECTED
    assert decided.message == "pairs.jsonl:3: not JSON"


def test_a_gate_with_every_check_off_does_not_pass() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_empty(),
        manifest=_manifest(desired),
        evaluation=_evaluation(desired, "not-applicable", "not-applicable"),
    )
    assert plan(desired, observed).state is State.REJECTED


def test_one_failed_check_outweighs_passed_ones() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_empty(),
        manifest=_manifest(desired),
        evaluation=_evaluation(desired, "passed", "failed", "passed"),
    )
    decided = plan(desired, observed)
    assert (decided.state, decided.message) == (State.REJECTED, "check-1: asked")


def test_an_exhausted_run_is_not_declared_until_someone_retries() -> None:
    run = run_id("dataset", "sha256:dd")
    observed = Observed(pointer=_empty(), statuses={run: _status(run, "failed", MAX_FAILURES)})
    decided = plan(_desired(), observed)
    assert (decided.state, decided.steps) == (State.FAILED, ())
    assert "disk full" in decided.message
    assert plan(_desired(), observed, retry=True).pending[0].run_id == run


def test_a_verdict_on_another_bundle_does_not_count() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_empty(),
        manifest=_manifest(desired),
        evaluation=_evaluation(desired, "passed", bundle="sha256:other"),
    )
    with pytest.raises(ReleaseConflictError, match="judges another bundle"):
        plan(desired, observed)


def test_another_gate_needs_another_version_before_the_release() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_empty(), manifest=_manifest(desired), evaluation=_evaluation(desired, "passed")
    )
    with pytest.raises(ReleaseConflictError, match="another gate configuration"):
        plan(_desired(gate="sha256:looser"), observed)


def test_another_gate_leaves_a_live_release_alone() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_released(desired),
        manifest=_manifest(desired),
        evaluation=_evaluation(desired, "passed"),
    )
    before, after = plan(desired, observed), plan(_desired(gate="sha256:new"), observed)
    assert after.state is State.LIVE
    assert after.steps == before.steps


def test_altered_weights_of_a_live_version_are_noticed() -> None:
    desired = _desired()
    observed = Observed(
        pointer=_released(desired), manifest=_manifest(desired, weights="sha256:altered")
    )
    with pytest.raises(ReleaseConflictError, match="the registry was altered"):
        plan(desired, observed)


def test_a_live_version_without_its_manifest_is_noticed() -> None:
    with pytest.raises(ReleaseConflictError, match="manifest is gone"):
        plan(_desired(), Observed(pointer=_released(_desired())))


def test_an_older_version_is_not_trained_behind_a_newer_release() -> None:
    with pytest.raises(ReleaseConflictError, match=r"older than v1\.1"):
        plan(_desired(), Observed(pointer=_released(_desired(V11))))


@pytest.mark.parametrize(
    ("names", "decisions", "approved", "passed"),
    [
        (None, [("a", "approve"), ("b", "approve")], 2, True),
        (None, [("a", "approve"), ("a", "approve")], 1, False),
        (None, [("a", "approve"), ("b", "approve"), ("c", "reject")], 2, False),
        (None, [("a", "approve"), ("b", "approve"), ("a", "reject")], 1, False),
        (("a", "b", "c"), [("a", "approve"), ("x", "approve")], 1, False),
        (("a", "b", "c"), [("a", "approve"), ("c", "approve")], 2, True),
    ],
)
def test_two_of_the_named_experts(
    names: tuple[str, ...] | None, decisions: list[tuple[str, str]], approved: int, passed: bool
) -> None:
    made = [
        Decision(
            domain="bank-ledger",
            version=V10,
            bundle_digest="sha256:b",
            reviewer=who,
            verdict=verdict,
            at=NOW,  # type: ignore[arg-type]
        )
        for who, verdict in decisions
    ]
    count = tally(made, bundle_digest="sha256:b", reviewers=names)
    assert (len(count.approved_by), count.passed(2)) == (approved, passed)


def test_an_approval_of_another_bundle_is_ignored_with_the_reason() -> None:
    decision = Decision(
        domain="bank-ledger",
        version=V10,
        bundle_digest="sha256:old",
        reviewer="a",
        verdict="approve",
        at=NOW,
    )
    count = tally([decision], bundle_digest="sha256:new", reviewers=None)
    assert count.approved_by == ()
    assert "another bundle" in count.ignored[0]


def test_a_second_rollback_goes_on_back_and_not_forward(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    for number in range(3):
        version = Version(1, number)
        move_pointer(
            store,
            "bank-ledger",
            version=version,
            bundle_digest=f"b{number}",
            generation=number,
            by="job",
        )
    back = [
        rollback(store, "bank-ledger", to=None, by="operator", reason="worse").live
        for _ in range(2)
    ]
    assert back == [Version(1, 1), Version(1, 0)]
    with pytest.raises(RegistryError, match=r"no earlier release to go back to \(live: v1\.0\)"):
        rollback(store, "bank-ledger", to=None, by="operator", reason="worse")


def test_a_rollback_does_not_return_to_a_version_that_was_rolled_back(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")

    def go_live(version: Version) -> None:
        generation = read_pointer(store, "bank-ledger").generation
        move_pointer(
            store,
            "bank-ledger",
            version=version,
            bundle_digest="b",
            generation=generation,
            by="job",
        )

    go_live(V10)
    go_live(V11)
    rollback(store, "bank-ledger", to=None, by="operator", reason="worse")
    lift_hold(store, "bank-ledger", by="operator", reason="fixed")
    go_live(Version(1, 2))
    assert rollback(store, "bank-ledger", to=None, by="operator", reason="worse").live == V10


@pytest.mark.parametrize("name", ["Alice", "alice b", "", "\u0430lice"])
def test_a_reviewer_has_one_spelling(name: str) -> None:
    with pytest.raises(ValidationError, match="reviewer"):
        Decision(
            domain="bank-ledger",
            version=V10,
            bundle_digest="b",
            reviewer=name,
            verdict="approve",
            at=NOW,
        )
