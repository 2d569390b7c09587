"""The release state machine on the real Pulumi engine: `up` at every state, and after every fault."""

import pytest

from tests.engine.conftest import DOMAIN, World

pytestmark = pytest.mark.engine


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
    assert [world.executions(kind) for kind in ("dataset", "train", "publish", "evaluate")] == [
        1
    ] * 4
