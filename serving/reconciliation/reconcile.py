"""Compares the ledger of an interval with every source."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from registry.errors import RegistryError
from registry.store import ObjectStore, open_store
from registry.traffic import read_traffic
from serving.reconciliation import beside
from serving.reconciliation.amounts import NOTHING, Amounts
from serving.reconciliation.config import (
    AdapterSyncSource,
    CounterSource,
    LangfuseTraces,
    ReconciliationConfig,
    RouterSource,
    VllmSource,
)
from serving.reconciliation.coverage import Coverage, Reading, Window, cover
from serving.reconciliation.differences import Bound, compare
from serving.reconciliation.errors import ReconciliationError
from serving.reconciliation.langfuse import Langfuse
from serving.reconciliation.ledger import LedgerView, ledger_view
from serving.reconciliation.mlflow import Mlflow
from serving.reconciliation.report import Comparison, Report
from serving.reconciliation.samples import Sample, read_samples, readings, sampled
from serving.reconciliation.shipping import read_shipping
from serving.reconciliation.traces import TraceMoments, compare_traces
from serving.reconciliation.upstream import CounterRules, choices, expect, open_bound
from serving.router.body import MAX_CHOICES
from serving.warehouse.files import open_warehouse
from serving.warehouse.progress import OpenRequest

_TRACE_EDGE: Final = dt.timedelta(milliseconds=100)


def reconcile(
    config: ReconciliationConfig, began: dt.datetime, ended: dt.datetime, *, now: dt.datetime
) -> Report:
    """Compare an interval.

    Args:
        config: What with what.
        began: Begin; counters are compared from the first sample after it.
        ended: End; counters are compared to the last sample before it.
        now: When traces are asked for.

    Raises:
        ReconciliationError: No samples in the interval, a ledger that is not shipped so far, files
            that cannot be read, or a trace store that does not answer.
    """
    if began >= ended:
        raise ReconciliationError(
            f"the interval begins at {began.isoformat()} and ends at {ended.isoformat()}: "
            "the begin must be before the end"
        )
    try:
        return _Reconciliation(config, began, ended, now).report()
    except RegistryError as error:
        raise ReconciliationError(str(error)) from error


class _Reconciliation:
    """One run; what several comparisons need is read once."""

    def __init__(
        self, config: ReconciliationConfig, began: dt.datetime, ended: dt.datetime, now: dt.datetime
    ) -> None:
        self._config = config
        self._store: ObjectStore = open_store(config.warehouse_uri)
        self._began, self._ended, self._now = began, ended, now
        self._margin = dt.timedelta(seconds=config.clock_margin_s)
        self._notes: list[str] = []

    def report(self) -> Report:
        covered = [(source, self._coverage(source)) for source in self._config.counted]
        shipping = read_shipping(self._store, self._needed(covered))
        self._notes += shipping.notes
        longest = dt.timedelta(seconds=self._config.request_timeout_s)
        first = min([self._began, *(coverage.began for _, coverage in covered)])
        last = max([self._ended, *(coverage.ended for _, coverage in covered)])
        warehouse = open_warehouse(self._config.warehouse_uri)
        with ledger_view(warehouse, first - longest, last + self._margin) as ledger:
            still_open = ledger.still_open(shipping.open)
            comparisons = [
                self._counters(source, coverage, ledger, still_open) for source, coverage in covered
            ]
            comparisons += self._traces(ledger, still_open)
        return Report(self._began, self._ended, comparisons, self._notes)

    def _needed(self, covered: list[tuple[CounterSource, Coverage]]) -> dt.datetime:
        """The time that the ledger must be shipped until."""
        needed = [coverage.ended + self._margin for _, coverage in covered]
        if self._config.traces is not None:
            needed.append(self._ended)
        return max(needed, default=self._ended)

    def _coverage(self, source: CounterSource) -> Coverage:
        samples = read_samples(self._store, source.name, self._began, self._ended)
        coverage = cover(readings(samples), self._margin)
        if coverage is None:
            raise ReconciliationError(self._too_few(source.name, samples))
        self._note_down(source.name, samples)
        return coverage

    def _too_few(self, name: str, samples: list[Sample]) -> str:
        moments = sampled(self._store, name)
        there = (
            "it was never sampled: is the sampler running, and is warehouse_uri the same?"
            if moments is None
            else f"it has samples from {moments.began.isoformat()} to {moments.ended.isoformat()}"
        )
        return (
            f"source {name}: {len(samples)} samples, and not two with counters, between "
            f"{self._began.isoformat()} and {self._ended.isoformat()}; {there}"
        )

    def _note_down(self, name: str, samples: list[Sample]) -> None:
        down = [server for sample in samples for server in sample.servers if not server.up]
        if down:
            self._notes.append(
                f"source {name}: {len(down)} readings failed, the last one of {down[-1].server}: "
                f"{down[-1].reason}"
            )

    def _counters(
        self,
        source: CounterSource,
        coverage: Coverage,
        ledger: LedgerView,
        still_open: Sequence[OpenRequest],
    ) -> Comparison:
        rules = self._rules(source, coverage)
        expected = expect(ledger.tallies(source.pools, coverage), rules)
        until = coverage.ended + self._margin
        open_here = sum(
            request.pool in source.pools and request.admitted <= until for request in still_open
        )
        bounds = [
            *expected.bounds,
            open_bound(ledger.orphans(source.pools, until), "orphan", rules),
            open_bound(open_here, "in_flight", rules),
        ]
        if isinstance(source, VllmSource):
            bounds.append(choices(coverage.increment("further_answers"), rules))
            bounds += self._beside(source, coverage)
        counted = Amounts(
            coverage.increment("requests"),
            coverage.increment("prompt_tokens"),
            coverage.increment("generation_tokens"),
        )
        return Comparison(
            source=source.name,
            scope=", ".join(source.pools),
            began=coverage.began,
            ended=coverage.ended,
            differences=compare(expected.ledger, counted, bounds),
        )

    def _rules(self, source: CounterSource, coverage: Coverage) -> CounterRules:
        return CounterRules(
            model_len=source.max_model_len,
            choices=MAX_CHOICES,
            several=coverage.increment("further_answers") > 0,
            counts_partial=isinstance(source, VllmSource),
        )

    def _beside(self, source: VllmSource, coverage: Coverage) -> Iterator[Bound]:
        """What reached the servers beside customers' requests."""
        for prober in self._config.sources:
            if isinstance(prober, AdapterSyncSource) and prober.probes == source.name:
                found = self._readings(prober.name, coverage.began, coverage.ended)
                yield beside.probes(found, coverage, model_len=source.max_model_len)
        jobs = self._config.evaluations
        if jobs is not None and jobs.source == source.name:
            traffic = read_traffic(open_store(jobs.registry_uri))
            yield from beside.evaluations(traffic, coverage, model_len=source.max_model_len)

    def _readings(self, source: str, began: dt.datetime, ended: dt.datetime) -> list[Reading]:
        return readings(read_samples(self._store, source, began, ended))

    def _traces(self, ledger: LedgerView, still_open: Sequence[OpenRequest]) -> list[Comparison]:
        config = self._config.traces
        if config is None:
            return []
        client = Langfuse(config) if isinstance(config, LangfuseTraces) else Mlflow(config)
        dropped, ends = self._routers()
        delay = dt.timedelta(seconds=self._config.trace_delay_s)
        moments = TraceMoments(
            self._began, self._ended, self._now - delay, _TRACE_EDGE, router_ends=ends
        )
        tallies = ledger.customers(moments)
        in_flight = self._in_flight(still_open)
        names = {tally.customer for tally in tallies} | in_flight.keys()
        traced = client.traced(sorted(names), self._began, self._ended)
        nobody = traced.pop(None)
        found = compare_traces(
            tallies,
            {customer: amounts for customer, amounts in traced.items() if customer is not None},
            dropped=dropped,
            in_flight=in_flight,
        )
        comparisons = [
            Comparison(config.kind, each.customer, self._began, self._ended, each.differences)
            for each in found
        ]
        stray = compare(NOTHING, nobody, [])
        return [*comparisons, Comparison(config.kind, "", self._began, self._ended, stray)]

    def _routers(self) -> tuple[int, tuple[Window, ...]]:
        """How many traces were dropped, and when routers ended.

        Traces are dropped after the admission of their requests: within the longest request and
        the delay of traces.
        """
        after = self._config.request_timeout_s + self._config.trace_delay_s
        interval = dt.timedelta(seconds=self._config.interval_s)
        dropped, windows = 0, list[Window]()
        for source in self._config.sources:
            if not isinstance(source, RouterSource):
                continue
            found = self._readings(
                source.name,
                self._began - 2 * interval,
                self._ended + dt.timedelta(seconds=after),
            )
            coverage = cover(found, self._margin)
            if coverage is None:
                self._notes.append(f"source {source.name}: no two samples, so no dropped traces")
                continue
            dropped += coverage.increment("traces_dropped")
            windows += [
                replace(window, began=window.began - self._unsent())
                for window in coverage.windows
                if window.cause == "pod_restart"
            ]
        return dropped, tuple(windows)

    def _unsent(self) -> dt.timedelta:
        """How long a router may hold a trace after its request has ended.

        As long as the batch before it is sent again, and then as long itself. A backlog of several
        batches may be older.
        """
        longest_s = self._config.trace_retry_for_s + self._config.trace_timeout_s
        return dt.timedelta(seconds=2 * longest_s)

    def _in_flight(self, still_open: Sequence[OpenRequest]) -> dict[str, Amounts]:
        """The most that requests without a known end can be, by customer."""
        model_len = max((source.max_model_len for source in self._config.counted), default=0)
        rules = CounterRules(model_len=model_len, choices=MAX_CHOICES)
        found: defaultdict[str, Amounts] = defaultdict(lambda: NOTHING)
        for request in still_open:
            if self._began <= request.admitted < self._ended:
                found[request.customer] += rules.work(1)
        return dict(found)
