"""Prints what the processes of the serving environment expose; runs in that environment.

Every metric with labels gets one series, so that its labels can be read off the text.
"""

import sys
from datetime import UTC, datetime

from prometheus_client.metrics import MetricWrapperBase

from registry.evaluation import CheckResult, Evaluation
from registry.names import Version
from registry.pointer import Move, Pointer
from serving.adapter_sync import metrics as adapter_sync
from serving.exporter import metrics as exporter
from serving.exporter.billing import BillingHealth
from serving.exporter.gate import DomainGate
from serving.pod_status import AdapterStatus, PodStatus
from serving.router.metrics import RouterMetrics

_NOW = datetime(2026, 11, 25, tzinfo=UTC)
_VERSION = Version(1, 2)


def _router() -> bytes:
    metrics = RouterMetrics()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and metric._labelnames:
            metric.labels(*metric._labelnames)
    return metrics.render()


def _adapter_sync() -> bytes:
    loaded = AdapterStatus(domain="d", version="v1.2", digest="sha256:0", state="loaded")
    return adapter_sync.render(PodStatus(pod="p", base=True, adapters={"d-v1.2": loaded}))


def _exporter() -> bytes:
    move = Move(
        generation=1,
        action="release",
        version=_VERSION,
        bundle_digest="sha256:0",
        by="b",
        reason="r",
        at=_NOW,
    )
    verdict = Evaluation(
        domain="d",
        version=_VERSION,
        bundle_digest="sha256:0",
        gate_digest="sha256:0",
        checks=(CheckResult(name="c", status="passed", score=0.9, threshold=0.8),),
        created_at=_NOW,
    )
    pointer = Pointer(domain="d", live=_VERSION, generation=1, history=(move,))
    billing = BillingHealth(
        shipped={"router-0": _NOW},
        damaged={"router-0": 1},
        lost={"router-0": 1},
        closed_until=_NOW,
        orphans=1,
        attention={"clock": 1},
    )
    return exporter.render([DomainGate(pointer, (verdict,))], billing, {"registry": 1.0})


sys.stdout.buffer.write(_router() + _adapter_sync() + _exporter())
