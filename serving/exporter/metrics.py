"""The exposition of what the exporter read."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from registry.evaluation import CheckResult, Evaluation
from serving.exporter.billing import BillingHealth
from serving.exporter.gate import DomainGate

_CHECK_LABELS = ("domain", "version", "check", "status")


def render(
    gate: Iterable[DomainGate], billing: BillingHealth | None, read: Mapping[str, float]
) -> bytes:
    """The exposition text. Made anew each time, so that what is gone leaves no series behind.

    Args:
        gate: What the registry says.
        billing: What the warehouse says; None before it was read.
        read: Unix time of the last success in reading, by source.
    """
    registry = CollectorRegistry()
    reads = Gauge(
        "pipeline_exporter_read_timestamp_seconds",
        "When the source was last read.",
        ["source"],
        registry=registry,
    )
    for source, at in read.items():
        reads.labels(source).set(at)
    _add_releases(gate, registry)
    _add_checks((verdict for domain in gate for verdict in domain.evaluations), registry)
    if billing is not None:
        _add_billing(billing, registry)
    return bytes(generate_latest(registry))


def _add_releases(gate: Iterable[DomainGate], registry: CollectorRegistry) -> None:
    labels = ("domain", "version")
    live = Gauge(
        "pipeline_release_live_timestamp_seconds",
        "When the pointer of the domain last moved, under the version that it points to.",
        labels,
        registry=registry,
    )
    held = Gauge(
        "pipeline_release_held",
        "1 when a rollback holds the live version, else 0.",
        labels,
        registry=registry,
    )
    for domain in gate:
        pointer = domain.pointer
        if pointer.live is None:
            continue
        values = (pointer.domain, str(pointer.live))
        live.labels(*values).set(pointer.history[-1].at.timestamp() if pointer.history else 0)
        held.labels(*values).set(pointer.hold is not None)


def _add_checks(evaluations: Iterable[Evaluation], registry: CollectorRegistry) -> None:
    judged = Gauge(
        "pipeline_gate_check_timestamp_seconds",
        "When the check of the evaluation gate was judged.",
        _CHECK_LABELS,
        registry=registry,
    )
    score = Gauge("pipeline_gate_check_score", "Its score.", _CHECK_LABELS, registry=registry)
    threshold = Gauge(
        "pipeline_gate_check_threshold",
        "The score that it had to reach.",
        _CHECK_LABELS,
        registry=registry,
    )
    for verdict in evaluations:
        for check in verdict.checks:
            labels = _labels(verdict, check)
            judged.labels(*labels).set(verdict.created_at.timestamp())
            if check.score is not None:
                score.labels(*labels).set(check.score)
            if check.threshold is not None:
                threshold.labels(*labels).set(check.threshold)


def _labels(verdict: Evaluation, check: CheckResult) -> tuple[str, ...]:
    return verdict.domain, str(verdict.version), check.name, check.status


def _add_billing(billing: BillingHealth, registry: CollectorRegistry) -> None:
    _add_writers(billing, registry)
    if billing.closed_until is not None:
        Gauge(
            "pipeline_billing_closed_timestamp_seconds",
            "End of the newest closed month; before the first, begin of the first month with data.",
            registry=registry,
        ).set(billing.closed_until.timestamp())
    Gauge(
        "pipeline_billing_orphans",
        "Requests of the open months that were admitted and have no end.",
        registry=registry,
    ).set(billing.orphans)
    attention = Gauge(
        "pipeline_billing_attention",
        "Findings in the day parts of open months that wait for a person.",
        ["kind"],
        registry=registry,
    )
    for kind, findings in billing.attention.items():
        attention.labels(kind).set(findings)


def _add_writers(billing: BillingHealth, registry: CollectorRegistry) -> None:
    gauges: tuple[tuple[str, str, Mapping[str, float]], ...] = (
        (
            "pipeline_ledger_shipped_timestamp_seconds",
            "Up to when everything that the writer wrote is in the warehouse.",
            {writer: at.timestamp() for writer, at in billing.shipped.items()},
        ),
        (
            "pipeline_ledger_damaged_segments",
            "Segments that cannot be shipped, because they are damaged.",
            billing.damaged,
        ),
        (
            "pipeline_ledger_lost_volumes",
            "Volumes that the writer came back without before all of them was shipped.",
            billing.lost,
        ),
    )
    for name, documentation, values in gauges:
        gauge = Gauge(name, documentation, ["writer"], registry=registry)
        for writer, value in values.items():
            gauge.labels(writer).set(value)
