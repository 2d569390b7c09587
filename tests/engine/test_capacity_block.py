"""A stack compares its Capacity Block with that of its last update, on the real engine."""

import pytest
from pulumi import automation as auto

from stacks.config.nodes import NodeGroups
from stacks.engine import open_stack
from stacks.paths import StateDirectory
from stacks.programs.cluster.aws import keep_block_until_empty
from tests.aws_configs import block

pytestmark = pytest.mark.engine

TAGS = {"owner": "platform"}


@pytest.fixture
def stack(tmp_path):
    """Opens the stack with a block in a state."""

    def opened(**changes) -> auto.Stack:
        nodes = NodeGroups.model_validate({"llm": block(**changes)})
        return open_stack(
            "prod",
            program=lambda: keep_block_until_empty(nodes, TAGS),
            config=None,
            state=StateDirectory(tmp_path),
        )

    return opened


def test_preview_refuses_an_upgrade_of_nodes_that_run(stack):
    stack(desired=1, version="1.34").up()
    stack(desired=2, version="1.34").preview()
    for desired in (0, 1):
        with pytest.raises(auto.CommandError, match=r"capacity\.version would change nodes"):
            stack(desired=desired, version="1.35").preview()
    stack(desired=0, version="1.34").up()
    stack(desired=0, version="1.35").up()
    stack(desired=2, version="1.35").up()
    with pytest.raises(auto.CommandError, match="of which 2 run"):
        stack(desired=2, version="1.36").preview()
