"""Traces compared with the ledger, customer by customer. No I/O.

The router makes one trace of every request that has ended, so traces and ledger are compared by the
time of admission, which both know: no sample decides an interval. What may be missing:

    router_restart  traces that a router had not sent when it ended
    trace_delay     traces of requests that ended so late that they may be on their way
    boundary        requests admitted at the very ends of the interval: the trace's clock is read a
                    moment before the ledger's, so they may be on either side, or on both
    in_flight       requests that had not ended when the ledger was shipped, and may have since
    dropped_trace   traces that routers dropped and counted

Dropped traces have no customer. They are given to customers with traces missing, in the order of
their names, and never more of them than were dropped. How many tokens they had is between as many
of the customer's smallest requests and as many of its largest.

A surplus of one customer never covers for another one: each has its own equation.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from serving.reconciliation.amounts import NOTHING, Amounts
from serving.reconciliation.coverage import Window
from serving.reconciliation.differences import (
    Attribution,
    Bound,
    Difference,
    compare_measure,
)

Doubt = Literal["router_restart", "trace_delay", "boundary"]


@dataclass(frozen=True)
class TraceMoments:
    """Times that decide which traces must be there."""

    began: dt.datetime
    """First time of admission, included."""
    ended: dt.datetime
    """Last time of admission, excluded."""
    arrived: dt.datetime
    """Traces of requests that ended before this time have arrived."""
    edge: dt.timedelta
    """How far the clocks of trace and ledger are apart at most."""
    router_ends: tuple[Window, ...]
    """Last moments of routers."""


@dataclass(frozen=True)
class CustomerTally:
    """Requests of one customer that lie alike."""

    customer: str
    inside: bool
    """Whether they were admitted in the interval, by the ledger's clock."""
    doubt: Doubt | None
    """Why a trace may be missing, or be too much; None where it must be there."""
    amounts: Amounts
    smallest: Amounts = NOTHING
    """The fewest tokens of any one of them."""
    largest: Amounts = NOTHING


@dataclass(frozen=True)
class CustomerDifferences:
    """The comparison of one customer."""

    customer: str
    differences: tuple[Difference, ...]


def compare_traces(
    tallies: Iterable[CustomerTally],
    traced: Mapping[str, Amounts],
    *,
    dropped: int,
    in_flight: Mapping[str, Amounts],
) -> list[CustomerDifferences]:
    """Compare every customer, in the order of their names.

    Args:
        tallies: The ledger's side.
        traced: What the traces of each customer add up to.
        dropped: Traces that routers dropped, of all customers together.
        in_flight: The most that the requests can be that the ledger does not know the end of, by
            customer.
    """
    names = {*traced, *in_flight}
    by_customer: dict[str, list[CustomerTally]] = {name: [] for name in names}
    for tally in tallies:
        by_customer.setdefault(tally.customer, []).append(tally)
    found = []
    for customer, own in sorted(by_customer.items()):
        bounds = [_bound(tally, tally.doubt) for tally in own if tally.doubt is not None]
        bounds.append(Bound("in_flight", NOTHING, in_flight.get(customer, NOTHING)))
        inside = [tally for tally in own if tally.inside]
        differences, used = _compare(inside, traced.get(customer, NOTHING), bounds, dropped)
        dropped -= used
        found.append(CustomerDifferences(customer, differences))
    return found


def _compare(
    inside: Sequence[CustomerTally], traced: Amounts, bounds: Sequence[Bound], dropped: int
) -> tuple[tuple[Difference, ...], int]:
    """Differences of one customer, and how many dropped traces explain them."""
    ledger = sum((tally.amounts for tally in inside), NOTHING)
    missing = Amounts(-min(dropped, ledger.requests))
    of_requests = Bound("dropped_trace", missing, NOTHING)
    requests = compare_measure("requests", ledger, traced, [*bounds, of_requests])
    share = _share(requests.attributions)
    of_tokens = _tokens(inside, share)
    prompt = compare_measure("prompt_tokens", ledger, traced, [*bounds, of_tokens])
    generation = compare_measure("generation_tokens", ledger, traced, [*bounds, of_tokens])
    return (requests, prompt, generation), -share.amount


def _bound(tally: CustomerTally, doubt: Doubt) -> Bound:
    if tally.inside:
        return Bound(doubt, -tally.amounts, NOTHING)
    return Bound(doubt, NOTHING, tally.amounts)


def _share(attributions: Iterable[Attribution]) -> Attribution:
    nothing = Attribution("dropped_trace", 0, 0, 0)
    return next((each for each in attributions if each.cause == "dropped_trace"), nothing)


def _tokens(inside: Sequence[CustomerTally], share: Attribution) -> Bound:
    """Tokens of the traces that were dropped: between `share.least` and `share.most`, negative."""
    if not inside:
        return Bound("dropped_trace", NOTHING, NOTHING)
    smallest = [tally.smallest for tally in inside]
    largest = [tally.largest for tally in inside]
    return Bound(
        "dropped_trace",
        Amounts(
            0,
            share.least * max(each.prompt_tokens for each in largest),
            share.least * max(each.generation_tokens for each in largest),
        ),
        Amounts(
            0,
            share.most * min(each.prompt_tokens for each in smallest),
            share.most * min(each.generation_tokens for each in smallest),
        ),
    )
