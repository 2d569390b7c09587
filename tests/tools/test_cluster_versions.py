"""That tests on a cluster judge by the versions that environments install."""

import re

import pytest

from stacks.charts_lock import read_lock
from stacks.paths import ROOT


@pytest.mark.parametrize(
    ("chart", "module"),
    [
        ("gateway-api", "sigs.k8s.io/gateway-api"),
        ("cert-manager", "github.com/cert-manager/cert-manager"),
    ],
)
def test_kinds_are_those_of_the_locked_chart(chart: str, module: str) -> None:
    text = (ROOT / "tools" / "go" / "crds" / "go.mod").read_text()
    required = re.search(rf"^\t{re.escape(module)} (\S+)$", text, re.MULTILINE)
    assert required is not None
    assert required[1] == read_lock()[chart].version
