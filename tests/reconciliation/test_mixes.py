"""Random mixes of causes, the whole way from Parquet to the report.

A request is drawn together with what its server really counted, anything that can happen. The
report must hold the truth, and must not hide a fault behind more than it says.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.reconciliation.differences import Difference
from serving.reconciliation.report import Report
from tests.reconciliation.warehouse import Server, Warehouse

MEASURES = ("requests", "prompt_tokens", "generation_tokens")
Counts = tuple[int, int, int]


@dataclass(frozen=True)
class Happened:
    """A request in the ledger, what its server counted, and which causes took which share."""

    fields: dict[str, Any]
    counted: Counts
    shares: dict[str, Counts]


TOKENS = st.tuples(st.integers(1, 40), st.integers(1, 40))
UNKNOWN = {"input_tokens": None, "output_tokens": None}


def known(tokens: tuple[int, int], **fields: Any) -> dict[str, Any]:
    return {"input_tokens": tokens[0], "output_tokens": tokens[1], **fields}


def answered(tokens: tuple[int, int]) -> Happened:
    return Happened(known(tokens), (1, *tokens), {})


def retried(tokens: tuple[int, int], arrived: bool, prefilled: bool, answer: int) -> Happened:
    """The first attempt broke: it never arrived, or the server had worked on it for a while."""
    share = (1, tokens[0] if prefilled else 0, answer) if arrived else (0, 0, 0)
    counted = (1 + share[0], tokens[0] + share[1], tokens[1] + share[2])
    return Happened(known(tokens, attempts=2), counted, {"retry": share})


def wasted(tokens: tuple[int, int], thrown: tuple[int, int]) -> Happened:
    fields = known(
        tokens,
        pool="llm",
        wasted_pool="slm",
        wasted_input_tokens=thrown[0],
        wasted_output_tokens=thrown[1],
    )
    counted = (2, tokens[0] + thrown[0], tokens[1] + thrown[1])
    return Happened(fields, counted, {"wasted_cascade": (1, *thrown)})


def failed(tokens: tuple[int, int], arrived: bool) -> Happened:
    counted = (1, *tokens) if arrived else (0, 0, 0)
    fields = {**UNKNOWN, "status": 502, "error": "upstream_unreachable"}
    return Happened(fields, counted, {"failed": (counted[0] - 1, *counted[1:])})


def refused() -> Happened:
    return Happened({**UNKNOWN, "status": 400, "error": "upstream_refused"}, (1, 0, 0), {})


def unmeasured(prompt: int) -> Happened:
    fields = {**UNKNOWN, "status": 499, "error": "client_closed"}
    return Happened(fields, (1, prompt, 0), {"unmeasured": (0, prompt, 0)})


def cut_off(tokens: tuple[int, int], further: int) -> Happened:
    fields = known(tokens, status=499, error="client_closed")
    counted = (1, tokens[0], tokens[1] + further)
    return Happened(fields, counted, {"cut_off": (0, 0, further)})


HAPPENED = st.one_of(
    st.builds(answered, TOKENS),
    st.builds(retried, TOKENS, st.booleans(), st.booleans(), st.integers(0, 9)),
    st.builds(wasted, TOKENS, TOKENS),
    st.builds(failed, TOKENS, st.booleans()),
    st.builds(refused),
    st.builds(unmeasured, st.integers(0, 40)),
    st.builds(cut_off, TOKENS, st.integers(0, 5)),
)


def report_of(directory: Path, mix: list[Happened], fault: int = 0) -> Report:
    warehouse, server = Warehouse(directory), Server()
    warehouse.sample(0, server)
    for number, each in enumerate(mix):
        warehouse.event(10 + number, 10.5 + number, **each.fields)
        server.count(*each.counted)
    server.count(0, fault)
    warehouse.sample(600, server)
    return warehouse.report()


def by_measure(report: Report) -> dict[str, Difference]:
    (comparison,) = report.comparisons
    return {difference.measure: difference for difference in comparison.differences}


# Each example writes a warehouse and runs a database.
MIXES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MIXES
@given(st.lists(HAPPENED, min_size=1, max_size=12))
def test_the_report_of_a_mix_holds_the_truth(mix: list[Happened]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        found = by_measure(report_of(Path(directory), mix))
    for position, measure in enumerate(MEASURES):
        truth: Counter[str] = Counter()
        for each in mix:
            truth.update({cause: share[position] for cause, share in each.shares.items()})
        difference = found[measure]
        assert difference.unknown == 0
        ranges = {each.cause: (each.least, each.most) for each in difference.attributions}
        for cause, share in truth.items():
            least, most = ranges.get(cause, (0, 0))
            assert least <= share <= most
        only_certain = set(truth) <= {"wasted_cascade"}
        if only_certain:
            shares = {each.cause: each.amount for each in difference.attributions if each.amount}
            assert shares == {cause: share for cause, share in truth.items() if share}


@MIXES
@given(
    st.lists(HAPPENED, min_size=1, max_size=12),
    st.integers(-60, 60).filter(bool),
)
def test_a_fault_is_unknown_but_for_what_the_report_says_it_hides(
    mix: list[Happened], fault: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sound = by_measure(report_of(Path(directory), mix))["prompt_tokens"]
    with tempfile.TemporaryDirectory() as directory:
        faulty = by_measure(report_of(Path(directory), mix, fault))["prompt_tokens"]
    if fault > 0:
        assert faulty.unknown == max(0, fault - sound.hides_above)
    else:
        assert faulty.unknown == min(0, fault + sound.hides_below)
    if all(set(each.shares) <= {"wasted_cascade"} for each in mix):
        assert faulty.unknown == fault
