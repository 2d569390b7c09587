"""Whose domain a run says that it was for, held against the ledger. No I/O.

A run's own job writes down its customer, and a job is code that a customer's data went through. The
ledger is the router's: what a domain's requests were booked to is what its runs may be booked to.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from serving.billing.usage import Attention, RunRow, UsageRow

FOREIGN_RUN: Final = "foreign-run"


def of_their_domains(
    runs: Iterable[RunRow], usage: Iterable[UsageRow]
) -> tuple[tuple[RunRow, ...], tuple[Attention, ...]]:
    """Return the runs that may be billed, and those that name a customer of another domain.

    A domain without requests in the month says nothing about its runs: they are billed as they say.
    """
    known: defaultdict[str, set[str]] = defaultdict(set)
    for row in usage:
        known[row.domain].add(row.customer)
    billed, foreign = [], []
    for run in runs:
        owners = known.get(run.domain)
        if owners is None or run.customer in owners:
            billed.append(run)
        else:
            foreign.append(_named(run, owners))
    return tuple(billed), tuple(foreign)


def _named(run: RunRow, owners: set[str]) -> Attention:
    return Attention(
        FOREIGN_RUN,
        run.run_id,
        f"a run of domain {run.domain} says that it was for {run.customer}, and the domain's "
        f"requests are of {', '.join(sorted(owners))}: not billed; find out who wrote its result",
    )
