"""What pools are scaled by is emitted, with the labels that the queries choose by."""

import pytest

from components.pool_scaling import Trigger
from stacks.programs.cluster.pools import triggers
from tests.observability.emitted import TARGET_LABELS, everything
from tests.observability.promql import read
from tests.stacks.pool_configs import pool, slm

TRIGGERS = {each.name: each for each in triggers("slm", pool(slm(scale_to_zero=True)))}


@pytest.mark.parametrize("trigger", TRIGGERS.values(), ids=TRIGGERS)
def test_triggers_ask_for_what_is_emitted(trigger: Trigger) -> None:
    emitted = everything()
    selectors = read(trigger.query).selectors
    assert selectors
    for selector in selectors:
        assert selector.metric in emitted, f"{selector.metric} is emitted by nobody"
        series = emitted[selector.metric]
        assert selector.ranged is (series.kind == "counter")
        assert selector.labels <= series.labels | TARGET_LABELS
