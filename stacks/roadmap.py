"""The guide's roadmap in money: its figures beside those of an environment's configuration."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from stacks.catalogue.prices import PriceTable
from stacks.config.aws import EksCluster
from stacks.config.cluster_environment import ClusterEnvironment
from stacks.config.nodes import LlmNodes, OnDemand, Reservation

HOURS: Final = Decimal(730)
"""Of a month."""
SLM_SHARE: Final = Decimal("0.7")
"""Of requests that the small model answers, in the guide."""
_MODULES, _HOURS_SAVED, _HOURLY_WAGE = 10_000, Decimal("1.5"), Decimal(50)
_TRAINING_HOURS: Final = Decimal(60)
"""Of one QLoRA run: 2 to 3 days in the guide."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that costs something."""

    what: str
    month: Decimal | None
    """USD a month; None where the table has no price."""
    at_most: bool = False
    """Of spot nodes: the on-demand price stands in for one that moves."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What one phase adds."""

    number: int
    title: str
    timeline: str
    guide: str
    lines: tuple[Line, ...]
    once: Line | None = None
    note: str = ""


def phases(environment: ClusterEnvironment, prices: PriceTable) -> tuple[Phase, ...]:
    """What each phase of an environment adds a month, or once."""
    guide, nodes = prices.guide, _nodes(environment, prices)
    return (
        Phase(
            number=1,
            title="base model, gateway, traces",
            timeline="immediate",
            guide=f"${guide.llm_month:,}/mo (GPU)",
            lines=(*nodes["llm"], *_base(environment, prices)),
        ),
        Phase(
            number=2,
            title="+ vector RAG",
            timeline="1-2 weeks",
            guide="+ infrastructure",
            lines=(),
            note="not in this version",
        ),
        Phase(
            number=3,
            title="+ SLM cascade",
            timeline="2-4 weeks",
            guide=f"+${guide.slm_month:,}/mo",
            lines=nodes["slm"],
        ),
        Phase(
            number=4,
            title="+ LoRA fine-tuning",
            timeline="1-2 months",
            guide=f"+${guide.adapters_once:,} once",
            lines=(),
            once=nodes["training"][0] if nodes["training"] else None,
            note="once for each training run",
        ),
    )


def total(lines: Iterable[Line]) -> Decimal | None:
    """USD a month; None when a price is missing."""
    months = [line.month for line in lines]
    return None if None in months else sum((m for m in months if m is not None), Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """What the cascade saves a month, USD."""

    all_llm: Decimal
    cascade: Decimal

    @property
    def saved(self) -> Decimal:
        """A month."""
        return self.all_llm - self.cascade

    @property
    def share(self) -> Decimal:
        """Of what it cost without."""
        return self.saved / self.all_llm if self.all_llm else Decimal(0)


def pre_router(slm: Decimal, llm: Decimal) -> Cascade:
    """The guide's model: each request pays its share of the model that answers it.

    It holds where capacity follows load. Nodes that are always there cost the same either way.
    """
    return Cascade(all_llm=llm, cascade=SLM_SHARE * slm + (1 - SLM_SHARE) * llm)


def migration_hours() -> Decimal:
    """Hours that the guide saves by COBOL -> Java: modules times hours each."""
    return _MODULES * _HOURS_SAVED


def migration_value() -> Decimal:
    """The same in USD, at the wage that the guide's $750K implies."""
    return migration_hours() * _HOURLY_WAGE


def _nodes(environment: ClusterEnvironment, prices: PriceTable) -> dict[str, tuple[Line, ...]]:
    cluster = environment.cluster
    if not isinstance(cluster, EksCluster):
        return {"llm": (), "slm": (), "training": ()}
    groups = cluster.nodes
    slm, training = groups.slm, groups.training
    return {
        "llm": () if groups.llm is None else (_llm(groups.llm, prices),),
        "slm": ()
        if slm is None
        else (
            _line(
                "slm nodes",
                slm.instance_types[0],
                max(slm.min + slm.on_demand_floor, 1),
                prices,
                at_most=slm.price == "spot",
            ),
        ),
        "training": ()
        if training is None
        else (
            _line(
                f"{_TRAINING_HOURS} h of training",
                training.instance_types[0],
                1,
                prices,
                hours=_TRAINING_HOURS,
                at_most=training.price == "spot",
            ),
        ),
    }


def _llm(nodes: LlmNodes, prices: PriceTable) -> Line:
    capacity = nodes.capacity
    count = capacity.min if isinstance(capacity, OnDemand | Reservation) else capacity.desired
    return _line("llm nodes", nodes.instance_type, max(count, 1), prices)


def _line(
    what: str,
    instance: str,
    count: int,
    prices: PriceTable,
    *,
    hours: Decimal = HOURS,
    at_most: bool = False,
) -> Line:
    hour = prices.hour(instance)
    return Line(
        what=f"{what}: {count} x {instance}",
        month=None if hour is None else hour * count * hours,
        at_most=at_most,
    )


def _base(environment: ClusterEnvironment, prices: PriceTable) -> tuple[Line, ...]:
    cluster = environment.cluster
    if not isinstance(cluster, EksCluster):
        return ()
    system = cluster.nodes.system
    gateways = len(cluster.zones) if cluster.network.nat == "per-zone" else 1
    return (
        _line("system nodes", system.instance_types[0], system.min, prices),
        Line(what="control plane", month=prices.control_plane * HOURS),
        Line(
            what=f"{gateways} NAT gateway{'s' * (gateways > 1)}, without traffic",
            month=prices.nat_gateway * gateways * HOURS,
        ),
    )
