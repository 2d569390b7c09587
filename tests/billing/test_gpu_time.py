"""GPU time: the SQL against a plain reference, conservation, and single cases by hand."""

import datetime as dt
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.billing.day_events import SourceFile, load_day
from serving.billing.errors import BillingError
from serving.billing.gpu_time import GpuWeights, TokenWeights, allocate, whole_milliseconds
from serving.billing.pods import Held, Slot, held_on, merged, read_report
from serving.billing.usage import Attention, GpuRow, Orphan, PodInterval
from serving.warehouse import columns
from serving.warehouse.duck import session
from serving.warehouse.files import Entry
from tests.billing import reference
from tests.billing.rows import DAY, event, request_id, write_rows

WEIGHTS = GpuWeights(
    pools={
        "slm": TokenWeights(prefill_us=7, cached_us=1, decode_us=1000),
        "llm": TokenWeights(prefill_us=31, cached_us=3, decode_us=20_011),
    },
    source="made up",
)
SLM = Slot("slm-0", "slm", "L4", "on-demand")
DAY_MS = 86_400_000
WHOLE_DAY = {SLM: (Held(0, DAY_MS, 1),)}


def gpu_time(
    rows: Sequence[Mapping[str, Any]],
    held: Mapping[Slot, Sequence[Held]],
    weights: GpuWeights = WEIGHTS,
    orphans: Sequence[Orphan] = (),
) -> tuple[tuple[GpuRow, ...], tuple[Attention, ...]]:
    with tempfile.TemporaryDirectory() as name:
        path = write_rows(Path(name) / "events.parquet", rows, columns.EVENTS)
        with session(Path(name)) as (connection, _):
            load_day(connection, DAY, [SourceFile(Entry("events.parquet", ""), path)])
            return allocate(connection, DAY, held, weights, orphans)


def used(rows: Sequence[GpuRow]) -> dict[str | None, int]:
    """Milliseconds by adapter, or by kind where it is nobody's."""
    return {row.served_model or row.kind: row.gpu_ms for row in rows}


def pod_ms(held: Mapping[Slot, Sequence[Held]]) -> dict[str, int]:
    """GPU-milliseconds of each pod that has any."""
    found: dict[str, int] = {}
    for slot, spans in held.items():
        ms = sum(span.gpus * (span.ended_ms - span.started_ms) for span in spans)
        found[slot.pod] = found.get(slot.pod, 0) + ms
    return {pod: ms for pod, ms in found.items() if ms}


tokens = st.one_of(st.none(), st.integers(0, 3000))


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to 12 events in few windows, so that these are shared, crossed and overfull."""
    rows = []
    for number in range(draw(st.integers(0, 12))):
        latency = draw(st.integers(0, 200_000_000))
        input_tokens = draw(tokens)
        domain = draw(st.sampled_from(["bank-ledger", "claims"]))
        wasted = draw(st.booleans())
        rows.append(
            event(
                number,
                at_s=draw(st.sampled_from([0, 1, 59, 60, 100, 119.5, 86_300, 86_399.999])),
                domain=domain,
                served_model=f"{domain}-v1.2",
                pool=draw(st.sampled_from(["slm", "llm", "xlm"])),
                server=draw(st.sampled_from([None, "slm-0", "llm-0", "ghost"])),
                status=draw(st.sampled_from([200, 200, 499, 502])),
                input_tokens=input_tokens,
                cached_tokens=draw(st.one_of(st.none(), st.integers(0, input_tokens or 0))),
                output_tokens=draw(tokens),
                wasted_pool="slm" if wasted else None,
                wasted_server=draw(st.sampled_from([None, "slm-0"])) if wasted else None,
                attempts=draw(st.sampled_from([0, 1, 1, 2])),
                wasted_input_tokens=draw(tokens) if wasted else 0,
                wasted_output_tokens=draw(tokens) if wasted else 0,
                latency_us=latency,
                ttft_us=draw(st.one_of(st.none(), st.integers(0, latency))),
            )
        )
    return rows


@st.composite
def pods(draw: st.DrawFn) -> dict[Slot, tuple[Held, ...]]:
    """Up to two intervals of four slots; one pod's name comes with two price classes."""
    slots = [
        Slot("llm-0", "llm", "H100", "on-demand"),
        Slot("slm-0", "slm", "L4", "on-demand"),
        Slot("slm-0", "slm", "L4", "spot"),
        Slot("slm-1", "slm", "L4", "spot"),
    ]
    found = {}
    for slot in slots:
        edges = draw(st.lists(st.integers(0, 240_000), max_size=3, unique=True).map(sorted))
        edges += [DAY_MS] * (len(edges) % 2)
        spans = zip(edges[::2], edges[1::2], strict=True)
        held = tuple(Held(*span, gpus=draw(st.integers(0, 2))) for span in spans)
        if held:
            found[slot] = held
    return found


@settings(max_examples=50, deadline=None)
@given(rows=events(), held=pods())
def test_the_sql_gives_what_the_reference_gives_and_the_pods_time_in_all(
    rows: list[dict[str, Any]], held: dict[Slot, tuple[Held, ...]]
) -> None:
    found, _ = gpu_time(rows, held)
    by_key = {}
    by_pod: dict[str, int] = {}
    for row in found:
        slot = Slot(row.pod, row.pool, row.gpu_type, row.price_class)
        who = None if row.customer is None else (row.customer, row.domain, row.served_model)
        by_key[slot, row.kind, who] = row.gpu_ms
        by_pod[row.pod] = by_pod.get(row.pod, 0) + row.gpu_ms
    assert len(by_key) == len(found)
    assert by_key == reference.allocate(rows, held, WEIGHTS)
    assert by_pod == pod_ms(held)


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_whole_milliseconds_keep_the_sum_and_stay_close(amounts: list[int]) -> None:
    amounts.append(-sum(amounts) % 1000)
    whole = whole_milliseconds(amounts)
    assert sum(whole) * 1000 == sum(amounts)
    assert all(abs(ms * 1000 - us) < 1000 for ms, us in zip(whole, amounts, strict=True))


def test_the_first_of_equal_remainders_gets_the_missing_millisecond() -> None:
    assert whole_milliseconds([500, 2500, 1000]) == [1, 2, 1]


def test_tokens_weigh_what_the_pool_says() -> None:
    row = event(input_tokens=1000, cached_tokens=400, output_tokens=50)
    found, _ = gpu_time([row], WHOLE_DAY)
    # 600 x 7 + 400 x 1 + 50 x 1,000 = 54,600 microseconds; 0.4 ms has the larger remainder.
    assert used(found) == {"bank-ledger-v1.2": 55, "idle": DAY_MS - 55}


def test_an_answer_is_spread_over_its_time_and_the_prompt_is_not() -> None:
    # A quarter of the answer lies before the pod came, in its second window.
    row = event(at_s=45, input_tokens=9000, cached_tokens=0, ttft_us=0, latency_us=60_000_000)
    found, _ = gpu_time([row], {SLM: (Held(60_000, DAY_MS, 1),)})
    assert used(found)["bank-ledger-v1.2"] == 200 * 3 // 4


def test_an_overfull_window_is_shared_by_weight() -> None:
    rows = [
        event(1, output_tokens=150_000, input_tokens=0, cached_tokens=0),
        event(2, output_tokens=50_000, input_tokens=0, cached_tokens=0, served_model="slm-base"),
    ]
    found, _ = gpu_time(rows, WHOLE_DAY)
    assert used(found) == {
        "bank-ledger-v1.2": 45_000,
        "slm-base": 15_000,
        "idle": DAY_MS - 60_000,
    }


@pytest.mark.parametrize(
    "unknown",
    [
        {"input_tokens": None},
        {"output_tokens": None},
        {"status": 502},
        {"pool": "xlm"},
        {"input_tokens": -1},
        {"served_model": "claims-v1.0"},
    ],
)
def test_windows_with_a_request_of_unknown_weight_are_unmeasured(unknown: dict[str, Any]) -> None:
    rows = [event(1, output_tokens=7, input_tokens=0, cached_tokens=0), event(2, **unknown)]
    rows[1]["latency_us"] = 60_000_000
    found, _ = gpu_time(rows, WHOLE_DAY)
    assert used(found) == {
        "bank-ledger-v1.2": 7,
        "unmeasured": 120_000 - 7,
        "idle": DAY_MS - 120_000,
    }


def test_wasted_tokens_are_the_customers_on_the_pod_that_wasted_them() -> None:
    row = event(
        pool="llm",
        server="llm-0",
        wasted_pool="slm",
        wasted_server="slm-0",
        wasted_input_tokens=0,
        wasted_output_tokens=30,
    )
    llm = Slot("llm-0", "llm", "H100", "spot")
    found, _ = gpu_time([row], WHOLE_DAY | {llm: (Held(0, DAY_MS, 1),)})
    by_pod = {row.pod: row for row in found if row.kind == "used"}
    assert by_pod["slm-0"].gpu_ms == 30
    assert by_pod["slm-0"].customer == "customer-bank-A"
    assert by_pod["llm-0"].gpu_ms == round((600 * 31 + 400 * 3 + 200 * 20_011) / 1000)


def test_what_runs_past_midnight_falls_into_the_last_window() -> None:
    row = event(at_s=86_399, input_tokens=0, cached_tokens=0, latency_us=600_000_000)
    found, _ = gpu_time([row], {SLM: (Held(DAY_MS - 60_000, DAY_MS, 1),)})
    assert used(found) == {"bank-ledger-v1.2": 200, "idle": 59_800}


def test_a_pod_without_gpus_has_no_rows_and_is_known() -> None:
    assert gpu_time([event()], {SLM: (Held(0, DAY_MS, 0),)}) == ((), ())


def test_a_pod_that_no_report_has_is_named() -> None:
    rows = [event(1), event(2, server="slm-9"), event(3, server="slm-9", input_tokens=None)]
    found, [attention] = gpu_time(rows, WHOLE_DAY)
    assert {row.pod for row in found} == {"slm-0"}
    assert (attention.kind, attention.where, attention.requests) == ("unknown-pod", "slm-9", 2)


TWO_PODS = {
    SLM: (Held(0, DAY_MS, 1),),
    Slot("slm-1", "slm", "L4", "spot"): (Held(0, DAY_MS, 2),),
}


def test_what_no_pod_is_known_of_is_spread_over_the_pools_gpus() -> None:
    rows = [event(number, server=None, input_tokens=0, cached_tokens=0) for number in (1, 2)]
    found, attention = gpu_time(rows, TWO_PODS | {Slot("llm-0", "llm", "H100", "spot"): ()})
    assert attention == ()
    assert [(row.pod, row.gpu_ms) for row in found if row.kind == "used"] == [
        ("slm-0", 133),
        ("slm-1", 267),
    ]
    assert sum(row.gpu_ms for row in found) == 3 * DAY_MS


def test_unknown_weight_on_an_unknown_pod_is_unmeasured_on_the_whole_pool() -> None:
    llm = {Slot("llm-0", "llm", "H100", "spot"): (Held(0, DAY_MS, 1),)}
    rows = [event(1, server=None, input_tokens=None), event(2, at_s=60, pool="xlm", server=None)]
    found, [attention] = gpu_time(rows, TWO_PODS | llm)
    assert {(row.pod, row.gpu_ms) for row in found if row.kind == "unmeasured"} == {
        ("slm-0", 60_000),
        ("slm-1", 120_000),
    }
    assert (attention.kind, attention.where, attention.requests) == ("unknown-pod", "xlm", 1)


def test_a_request_that_was_sent_to_no_pod_took_no_gpu_time() -> None:
    found, attention = gpu_time([event(server=None, attempts=0, status=503)], TWO_PODS)
    assert ({row.kind for row in found}, attention) == ({"idle"}, ())


def test_use_of_a_pool_without_pods_is_named() -> None:
    rows = [event(1, server=None), event(2, server=None, input_tokens=None), event(3)]
    found, named = gpu_time(rows, {SLM: (Held(60_000, 120_000, 1),)})
    assert {row.kind for row in found} == {"idle"}
    assert [(one.where, one.requests) for one in named] == [("slm-0", 1), ("slm", 2)]


def test_an_orphan_makes_its_pool_unmeasured_for_as_long_as_a_router_waits() -> None:
    admitted = dt.datetime(2026, 11, 3, 0, 1, 30, tzinfo=dt.UTC)
    names = ("customer-bank-A", "bank-ledger", "bank-ledger-v1.2")
    lost = [Orphan(request_id(1), admitted, *names, pool, "router-0") for pool in ("slm", "llm")]
    found, [attention] = gpu_time([], TWO_PODS, orphans=lost)
    # Eleven windows: 600 s from the middle of the first one on.
    assert used(found) == {"unmeasured": 2 * 11 * 60_000, "idle": 2 * (DAY_MS - 11 * 60_000)}
    assert (attention.kind, attention.where, attention.requests) == ("unknown-pod", "llm", 1)


def test_requests_outside_of_a_pods_intervals_are_named() -> None:
    rows = [event(1, at_s=30), event(2, at_s=300)]
    _, [attention] = gpu_time(rows, {SLM: (Held(120_000, DAY_MS, 1),)})
    assert (attention.where, attention.requests) == ("slm-0", 1)


def interval(start_h: float, end_h: float, **changes: Any) -> PodInterval:
    begin = dt.datetime(2026, 11, 3, tzinfo=dt.UTC)
    values: dict[str, Any] = {
        "pod": "slm-0",
        "pool": "slm",
        "gpu_type": "L4",
        "gpus": 1,
        "price_class": "on-demand",
        "started": begin + dt.timedelta(hours=start_h),
        "ended": begin + dt.timedelta(hours=end_h),
    }
    return PodInterval(**values | changes)


def test_reports_that_agree_count_once() -> None:
    found = merged([interval(2, 5), interval(0, 3), interval(1, 2), interval(6, 7)])
    assert found == [interval(0, 5), interval(6, 7)]


def test_reports_that_disagree_are_refused() -> None:
    with pytest.raises(BillingError, match=r"pod slm-0: reports disagree .* 2 on-demand L4"):
        merged([interval(0, 3), interval(2, 5, gpus=2)])


def test_other_gpus_under_the_same_name_may_follow() -> None:
    one_after_the_other = [interval(0, 3), interval(3, 5, gpus=2)]
    assert merged(one_after_the_other) == one_after_the_other


def test_intervals_are_cut_to_the_day() -> None:
    held = held_on(DAY, [interval(-5, 1), interval(23, 30), interval(24, 25)])
    assert held == {SLM: (Held(0, 3_600_000, 1), Held(82_800_000, DAY_MS, 1))}


@pytest.mark.parametrize(
    "report",
    [
        b"{",
        b'{"intervals": [{"pod": "slm-0"}]}',
        b'{"intervals": [{"pod": "slm-0", "pool": "slm", "gpu_type": "L4", "gpus": 1, '
        b'"price_class": "spot", "started": "2026-11-03T01:00:00Z", '
        b'"ended": "2026-11-03T00:00:00Z"}]}',
        b'{"intervals": [{"pod": "slm-0", "pool": "slm", "gpu_type": "L4", "gpus": 1, '
        b'"price_class": "spot", "started": "2026-11-03T01:00:00", '
        b'"ended": "2026-11-03T02:00:00"}]}',
    ],
    ids=["not json", "fields missing", "backwards", "no time zone"],
)
def test_a_report_that_cannot_be_read_is_named(report: bytes) -> None:
    found = read_report(report, "pods/day=2026-11-03/cluster.json")
    assert isinstance(found, Attention)
    assert found.kind == "unreadable-file"
    assert "pods/day=2026-11-03/cluster.json" in found.where
