"""Counters of a router, from its /metrics."""

from serving.reconciliation.exposition import Counters, Exposition, ExpositionError


def parse_router(text: str) -> Counters:
    """Read the counters.

    Raises:
        ExpositionError: It is not the text of a router.
    """
    found = Exposition(text)
    if not found.has("router_traces_dropped"):
        raise ExpositionError("there is no router_traces_dropped_total: is this a router?")
    return Counters(
        # The registry of the router holds no process metrics; its counters are made at its start.
        started=found.moment("router_traces_dropped_created"),
        counters={"traces_dropped": found.counter("router_traces_dropped")},
    )
