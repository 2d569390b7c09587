"""What explains a difference, and how far. No I/O.

Each comparison is one equation for each measure (requests, prompt tokens, generation tokens):

    counted - ledger = x_1 + … + x_n + unknown

x_i is the share of a named cause, and what is known of the cause bounds it, on both sides:

    least_i <= x_i <= most_i

A cause whose size is known has least_i = most_i: its share is exact. Of others only the requests
that it may have touched are known. Let L and M be the sums of all least_i and most_i. Then

    explained = counted - ledger, but not less than L and not more than M
    unknown   = counted - ledger - explained

so causes together never explain more than their bounds, and without causes (L = M = 0) all of a
difference is unknown. What the equation then says of one cause is

    max(least_i, explained - sum of most_j)  <=  x_i  <=  min(most_i, explained - sum of least_j)

over the other causes j. Where both sides are equal the share is exact. Where they are not, several
causes could have made the difference, and no sum tells them apart: `amount` is then one solution
(causes take their shares in the order of `CAUSES`) and the range stands beside it.

For the same reason a fault that adds n to what was counted is seen as `unknown` only as far as n is
more than M - explained, and one that takes n away only beyond explained - L. These two numbers are
given for every difference as `hides_above` and `hides_below`. They are 0 when every cause is known
exactly, and an interval that begins and ends when nothing runs has the fewest others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from serving.reconciliation.amounts import MEASURES, NOTHING, Amounts, Measure

Cause = Literal[
    "wasted_cascade",
    "retry",
    "probe",
    "evaluation",
    "orphan",
    "cut_off",
    "failed",
    "refused",
    "unmeasured",
    "choices",
    "in_flight",
    "pod_restart",
    "not_sampled",
    "dropped_trace",
    "router_restart",
    "trace_delay",
    "boundary",
]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


@dataclass(frozen=True)
class Bound:
    """Between what a cause's share of a difference lies, measure by measure."""

    cause: Cause
    least: Amounts
    most: Amounts


@dataclass(frozen=True)
class Attribution:
    """A cause's share of one difference; exact where `least` and `most` are equal."""

    cause: Cause
    amount: int
    least: int
    most: int

    @property
    def exact(self) -> bool:
        """Whether only one share is possible."""
        return self.least == self.most


@dataclass(frozen=True)
class Difference:
    """One measure of one comparison."""

    measure: Measure
    ledger: int
    counted: int
    attributions: tuple[Attribution, ...]
    unknown: int
    hides_below: int
    """How much could be missing from `counted` without being seen."""
    hides_above: int
    """How much could be too much in `counted` without being seen."""

    @property
    def difference(self) -> int:
        """What is to be explained."""
        return self.counted - self.ledger


def compare(ledger: Amounts, counted: Amounts, bounds: Iterable[Bound]) -> tuple[Difference, ...]:
    """One difference for each measure."""
    merged = _merge(bounds)
    return tuple(compare_measure(measure, ledger, counted, merged) for measure in MEASURES)


def compare_measure(
    measure: Measure, ledger: Amounts, counted: Amounts, bounds: Iterable[Bound]
) -> Difference:
    """Solve the equation of one measure."""
    ranges = [
        (bound.cause, bound.least.of(measure), bound.most.of(measure)) for bound in _merge(bounds)
    ]
    ranges = [(cause, least, most) for cause, least, most in ranges if least or most]
    difference = counted.of(measure) - ledger.of(measure)
    lowest = sum(least for _, least, _ in ranges)
    highest = sum(most for _, _, most in ranges)
    explained = min(max(difference, lowest), highest)
    return Difference(
        measure=measure,
        ledger=ledger.of(measure),
        counted=counted.of(measure),
        attributions=_attribute(explained, ranges, lowest, highest),
        unknown=difference - explained,
        hides_below=explained - lowest,
        hides_above=highest - explained,
    )


def _merge(bounds: Iterable[Bound]) -> list[Bound]:
    """One bound for each cause, in the order of `CAUSES`."""
    least: dict[Cause, Amounts] = {}
    most: dict[Cause, Amounts] = {}
    for bound in bounds:
        least[bound.cause] = least.get(bound.cause, NOTHING) + bound.least
        most[bound.cause] = most.get(bound.cause, NOTHING) + bound.most
    return [Bound(cause, least[cause], most[cause]) for cause in CAUSES if cause in least]


def _attribute(
    explained: int, ranges: Sequence[tuple[Cause, int, int]], lowest: int, highest: int
) -> tuple[Attribution, ...]:
    """Shares that add up to what is explained; `lowest <= explained <= highest`."""
    shares = [min(max(0, least), most) for _, least, most in ranges]
    rest = explained - sum(shares)
    found = []
    for (cause, least, most), share in zip(ranges, shares, strict=True):
        step = min(max(rest, least - share), most - share)
        rest -= step
        found.append(
            Attribution(
                cause=cause,
                amount=share + step,
                least=max(least, explained - (highest - most)),
                most=min(most, explained - (lowest - least)),
            )
        )
    return tuple(found)
