"""The release state machine on the real Pulumi engine: `up` at every state, after every fault."""

import os
import signal
import subprocess
import sys
import time

import pytest
from pulumi import automation as auto

from registry.names import Version
from registry.pointer import lift_hold, rollback
from stacks.config.load import ConfigError
from stacks.driver import ReleaseError
from tests.engine.conftest import DOMAIN, World

pytestmark = pytest.mark.engine

KINDS = ("dataset", "train", "publish", "evaluate")


def _released(world: World) -> None:
    world.up()
    world.approve()
    assert world.up().state == "live"


def test_up_trains_once_waits_for_approvals_and_releases(world: World) -> None:
    first = world.up()
    assert (first.state, first.resting) == ("evaluated", True)
    assert world.live() is None
    again = world.up()
    assert (again.state, again.changes) == ("evaluated", 0)
    world.approve()
    assert world.up().state == "live"
    assert world.live() == "v1.0"
    resting = world.up()
    assert (resting.state, resting.changes) == ("live", 0)
    assert [world.executions(kind) for kind in KINDS] == [1, 1, 1, 1]


def test_a_failed_gate_never_moves_the_pointer(world: World) -> None:
    world.control(evaluate="failed", seconds=0)
    assert world.up().state == "rejected"
    world.approve()
    assert world.up().state == "rejected"
    assert world.live() is None
    # The same inputs under a new version are published and judged again, not trained again.
    world.control(evaluate="passed", seconds=0)
    assert world.up(version="v1.1").state == "evaluated"
    assert world.executions("train") == 1
    assert world.executions("evaluate") == 2


def test_a_rejection_outweighs_approvals(world: World) -> None:
    world.control(evaluate="passed", seconds=0)
    world.up()
    world.approve("v1.0", "demo-a", "demo-b", "demo-c")
    world.approve("v1.0", "demo-c", verdict="reject")
    assert world.up().state == "rejected"
    assert world.live() is None


def test_a_rollback_stands_until_its_hold_is_lifted(world: World) -> None:
    world.control(evaluate="passed", seconds=0)
    _released(world)
    new = {"pools": {"slm": {"steps": 11}}, "version": "v1.1"}
    world.up(**new)
    world.approve("v1.1")
    assert world.up(**new).state == "live"
    assert world.live() == "v1.1"
    rollback(world.store, DOMAIN, to=None, by="operator", reason="wrong rounding")
    for _ in range(2):
        held = world.up(**new)
        assert (held.state, held.changes) == ("held", 0)
        assert "wrong rounding" in held.message
        assert world.live() == "v1.0"
    lift_hold(world.store, DOMAIN, by="operator", reason="fixed upstream")
    assert world.up(**new).state == "live"
    assert world.live() == "v1.1"
    assert world.executions("train") == 2
    # A stale configuration does not undo the newer release.
    assert world.up().state == "retired"
    assert world.live() == "v1.1"


def test_a_version_cannot_change_its_inputs(world: World) -> None:
    world.control(evaluate="passed", seconds=0)
    world.up()
    with pytest.raises(auto.CommandError, match="other training inputs"):
        world.up(pools={"slm": {"steps": 12}})
    assert world.executions("train") == 1


def test_a_faulty_job_is_tried_three_times_and_then_waits_for_a_person(world: World) -> None:
    world.control(evaluate="passed", seconds=0, crash=["train"])
    failed = world.up()
    assert failed.state == "failed"
    assert "the test asked for a fault" in failed.message
    assert world.executions("train") == 3
    world.up()
    assert world.executions("train") == 3
    world.control(evaluate="passed", seconds=0)
    assert world.up(retry=True).state == "evaluated"
    assert world.executions("train") == 4


def test_a_lost_job_runs_again(world: World) -> None:
    world.control(evaluate="passed", seconds=0, die=["train"])
    assert world.up().state == "evaluated"
    assert world.executions("train") == 2


def test_a_job_that_cannot_start_is_an_error_with_its_log(world: World) -> None:
    world.control(evaluate="passed", seconds=0)
    right, world.module = world.module, "tests.engine.no_such_module"
    with pytest.raises(ReleaseError, match=r"No module named tests\.engine\.no_such_module"):
        world.up()
    world.module = right
    # The next `up` finds that the job is gone and submits it as it is declared now.
    assert world.up().state == "evaluated"


def test_two_ups_at_once_train_once(world: World) -> None:
    world.control(evaluate="passed", seconds=4)
    world.up(once=True)
    up = subprocess.Popen([sys.executable, "-m", "tests.engine.up_once", str(world.directory)])
    assert world.up(once=True).pending
    assert up.wait(timeout=120) == 0
    assert world.up().state == "evaluated"
    assert [world.executions(kind) for kind in KINDS] == [1, 1, 1, 1]


def test_a_killed_up_goes_on_where_it_was(world: World) -> None:
    world.control(evaluate="passed", seconds=3)
    up = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.up_once", str(world.directory)], start_new_session=True
    )
    locks = world.state.path / "backend" / ".pulumi" / "locks"
    deadline = time.monotonic() + 60
    while not list(locks.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.0)
    os.killpg(up.pid, signal.SIGKILL)
    up.wait(timeout=10)
    assert world.up().state == "evaluated"
    assert world.executions("train") == 1


def test_a_domain_without_its_environment_is_refused(world: World) -> None:
    config = {**world.config(), "pipeline:environment": "nowhere"}
    with pytest.raises(ConfigError, match="environment stack 'nowhere' does not exist"):
        world.driver.up(world.stack_named(config, f"nowhere-{DOMAIN}"), config)


def test_a_release_survives_the_loss_of_its_runs(world: World) -> None:
    world.control(evaluate="passed", seconds=0)
    _released(world)
    runs = world.state.path / "registry" / "runs"
    for path in sorted(runs.rglob("*.json")):
        path.unlink()
    after = world.up()
    assert (after.state, after.changes) == ("live", 0)
    assert world.pointer().live == Version(1, 0)


UNTRAINED = {"version": None, "dataset": None, "gate": None, "pools": {"slm": "base"}}


def test_a_domain_goes_from_base_models_to_an_adapter_and_back(world: World) -> None:
    first = world.up(**UNTRAINED)
    assert (first.state, first.version, first.resting) == ("base", None, True)
    assert world.answered_by() == "base"
    assert world.up(**UNTRAINED).changes == 0
    assert [world.executions(kind) for kind in KINDS] == [0, 0, 0, 0]
    keys = world.key_hashes()
    waiting = world.up(routing={"before_first_release": "base"})
    assert (waiting.state, world.answered_by()) == ("evaluated", "base-until-release")
    world.approve()
    assert world.up(routing={"before_first_release": "base"}).state == "live"
    assert world.up(**UNTRAINED).state == "base"
    # What was released stays in the registry; the record alone says that it does not answer.
    assert (world.live(), world.answered_by()) == ("v1.0", "base")
    assert world.key_hashes() == keys


def test_an_adapter_before_phase_4_is_refused(world: World) -> None:
    world.contract = world.contract.model_copy(update={"phase": 3, "adapter_pools": ()})
    world.environment_up()
    with pytest.raises(auto.CommandError, match="is at phase 3, which has no adapters"):
        world.up()
    assert world.up(**UNTRAINED).state == "base"
