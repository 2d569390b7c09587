"""Reports of a model server that runs on CPUs, where there is no cluster to ask."""

import contextlib
import datetime as dt

from registry.documents import encode
from registry.errors import PreconditionFailedError
from registry.names import PoolName
from registry.store import ObjectStore
from serving.billing.pods import PodIntervals, ReportedPod
from serving.warehouse.layout import PODS, day_folder


def report_no_gpus(store: ObjectStore, day: dt.date, pod: str, pool: PoolName) -> None:
    """Report, once, that a pod held no GPUs all day: it answers, and there is nothing to bill."""
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    held = ReportedPod(
        pod=pod,
        pool=pool,
        gpu_type="none",
        gpus=0,
        price_class="on-demand",
        started=begin,
        ended=begin + dt.timedelta(days=1),
    )
    with contextlib.suppress(PreconditionFailedError):
        store.put(
            f"{day_folder(PODS, day)}{pod}.json",
            encode(PodIntervals(intervals=(held,))),
            if_none_match=True,
        )
