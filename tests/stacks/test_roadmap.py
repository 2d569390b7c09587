"""The roadmap: the guide's figures, ours from the price table, and how they are shown."""

import re
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from stacks import roadmap as road
from stacks.catalogue.prices import price_table
from stacks.cli import app as cli
from stacks.config.cluster_environment import ClusterEnvironment
from tests.stacks.environments import DRAWS, cluster_stack, drawn, generated, raw


def environment(name: str) -> ClusterEnvironment:
    return cluster_stack(raw(name)).environment


def months(name: str, phase: int) -> dict[str, Decimal | None]:
    found = road.phases(environment(name), price_table())[phase - 1]
    return {line.what: line.month for line in found.lines}


def test_the_cascade_of_the_guide_saves_what_the_guide_says() -> None:
    guide = price_table().guide
    cascade = road.pre_router(guide.slm_month, guide.llm_month)
    assert (cascade.all_llm, cascade.cascade) == (8900, 3020)
    assert cascade.cascade == guide.cascade_month
    assert (cascade.saved, cascade.saved * 12) == (5880, 70560)
    assert f"{cascade.share:.1%}" == "66.1%"


def test_the_return_of_the_guide_is_what_the_guide_says() -> None:
    assert road.migration_hours() == 15_000
    assert road.migration_value() == 750_000
    assert road.migration_value() / price_table().guide.adapters_once == 375


def test_phases_have_the_figures_of_the_guide() -> None:
    guides = [phase.guide for phase in road.phases(environment("prod"), price_table())]
    assert guides == ["$8,900/mo (GPU)", "+ infrastructure", "+$500/mo", "+$2,000 once"]


def test_ours_are_counts_times_prices_times_hours() -> None:
    # By hand, from stacks/catalogue/prices.yaml and the node groups of Pulumi.prod.yaml.
    assert months("prod", 1) == {
        "llm nodes: 2 x p5.48xlarge": Decimal("55.04") * 2 * 730,
        "system nodes: 3 x m7i.xlarge": Decimal("0.2016") * 3 * 730,
        "control plane": Decimal("0.10") * 730,
        "3 NAT gateways, without traffic": Decimal("0.045") * 3 * 730,
    }
    # One spot node at least, beside a floor of two.
    assert months("prod", 3) == {"slm nodes: 3 x g6.xlarge": Decimal("0.8048") * 3 * 730}
    training = road.phases(environment("prod"), price_table())[3].once
    assert training is not None
    assert training.month == Decimal("55.04") * 60


def test_spot_is_at_most_the_list_price() -> None:
    phases = road.phases(environment("prod"), price_table())
    at_most = [line.what for phase in phases for line in phase.lines if line.at_most]
    assert at_most == ["slm nodes: 3 x g6.xlarge"]


def test_a_type_without_a_price_makes_a_total_unknown() -> None:
    table = price_table()
    poorer = table.model_copy(update={"instances": {"m7i.xlarge": Decimal("0.2016")}})
    lines = road.phases(environment("prod"), poorer)[0].lines
    assert lines[0].month is None
    assert road.total(lines) is None
    assert road.total(lines[1:]) is not None


def test_a_cluster_that_exists_costs_nothing_here() -> None:
    number = next(n for n in range(DRAWS) if drawn(n)["place"] == "existing")
    phases = road.phases(cluster_stack(generated(number)).environment, price_table())
    assert [phase.lines for phase in phases] == [()] * 4


def test_the_guides_prices_stand_beside_the_list_price() -> None:
    guide, table = price_table().guide.instances["g6.xlarge"], price_table()
    assert (guide.on_demand, guide.spot) == (Decimal("0.31"), Decimal("0.09"))
    ours = table.hour("g6.xlarge")
    assert ours is not None
    assert ours > guide.on_demand


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_the_table_has_one_line_for_each_item(
    columns: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _shown(name, columns, monkeypatch)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    for phase in road.phases(environment(name), price_table()):
        title = f"{phase.title} ({phase.timeline})"
        (row,) = (line for line in lines if line.startswith(str(phase.number)))
        assert title in row
        assert phase.guide in row
        for line in phase.lines:
            (row,) = (shown for shown in lines if line.what in shown)
            assert f"${line.month:,.0f}/mo" in row
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("This stack is"))]
    ends = {len(line.rstrip()) for line in table if re.search(r"/mo *$", line) and "$" in line[60:]}
    assert len(ends) == 1, "amounts of this stack end in one column"


@pytest.mark.parametrize(
    "figure",
    [
        *("$8,900", "$500", "$3,020", "$5,880", "$70,560", "66.1%"),
        *("15,000 h", "$750,000", "375x"),
        *("$0.31", "$0.09", "$0.8048", "$80,358/mo"),
    ],
)
def test_every_figure_is_shown(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert figure in _shown("prod", 80, monkeypatch)


def _shown(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(cli.app, ["plan", name, "--roadmap"])
    assert result.exit_code == 0, result.output
    return result.output
