"""GPU time of training and evaluation jobs, in the warehouse by month of use."""

import contextlib
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from registry import documents
from registry.documents import Document
from registry.errors import PreconditionFailedError, RegistryError
from registry.runs import RunResult
from registry.store import ObjectStore
from serving.billing.errors import BillingError
from serving.billing.months import month_of
from serving.billing.usage import PriceClass, RunRow
from serving.warehouse.layout import RUNS, run_key

_RUNS: Final = "runs/"
_RESULT: Final = re.compile(
    rf"{_RUNS}(?P<domain>[^/]+)/(?P<run>(?P<job>[^/-]+)-[^/]+)/result\.json"
)
_KINDS: Final[dict[str, Literal["training", "evaluation"]]] = {
    "train": "training",
    "evaluate": "evaluation",
}


class RunRecord(Document):
    """`runs/<month>/<domain>/<run>.json`."""

    schema_version: Literal[1] = 1
    run: RunRow


class GpuUse(Document):
    """Keys of a run result's `metrics` that say how long it held which GPUs.

    With 0 GPUs, as on CPUs and for an evaluation that asks a pool's servers, nothing else counts.
    `seconds` are those of the attempt that finished: one that was interrupted is not billed.
    """

    seconds: Decimal = Field(ge=0)
    gpus: int = Field(ge=0)
    gpu_type: str
    price_class: PriceClass


def read_runs(store: ObjectStore) -> tuple[RunRow, ...]:
    """Return all jobs of the warehouse.

    Raises:
        BillingError: One cannot be read, or is not under the name of its month, domain and run.
    """
    return tuple(_read(store, key) for key in store.list(RUNS))


def collect_runs(
    registry: ObjectStore, warehouse: ObjectStore, customers: Mapping[str, str]
) -> None:
    """Write down finished jobs that the warehouse does not know yet, of every domain.

    What is known stays, also when its domain has another customer since.

    Args:
        registry: Holds the jobs' results.
        warehouse: Where their GPU time goes.
        customers: The customer of a domain, for results that do not name one.

    Raises:
        BillingError: As `billed_runs`.
    """
    for run in billed_runs(registry, customers):
        with contextlib.suppress(PreconditionFailedError):
            write_run(warehouse, run)


def write_run(warehouse: ObjectStore, run: RunRow) -> None:
    """Write a job down, once. Raises PreconditionFailedError when it is known."""
    warehouse.put(_key(run), documents.encode(RunRecord(run=run)), if_none_match=True)


def billed_runs(registry: ObjectStore, customers: Mapping[str, str]) -> Iterator[RunRow]:
    """Rows of finished training and evaluation runs that held GPUs.

    Raises:
        BillingError: A result says that it held GPUs and not which, for how long, or for whom.
    """
    for key in registry.list(_RUNS):
        found = _RESULT.fullmatch(key)
        kind = _KINDS.get(found["job"]) if found else None
        if found is None or kind is None:
            continue
        result, _ = documents.read(registry, key, RunResult)
        use = _gpu_use(result, key)
        if use is not None:
            yield RunRow(
                day=result.created_at.astimezone(dt.UTC).date(),
                run_id=found["run"],
                kind=kind,
                customer=_customer(result, found["domain"], customers, key),
                domain=found["domain"],
                gpu_type=use.gpu_type,
                price_class=use.price_class,
                gpu_ms=_milliseconds(use),
            )


def _customer(result: RunResult, domain: str, customers: Mapping[str, str], key: str) -> str:
    customer = result.customer or customers.get(domain)
    if customer is None:
        raise BillingError(
            f"{key}: held GPUs and does not say for whom: name the customer of domain {domain!r} "
            "under `customers` of the billing configuration"
        )
    return customer


def _gpu_use(result: RunResult, key: str) -> GpuUse | None:
    metrics: dict[str, Any] = result.result.get("metrics", {})
    if not metrics.get("gpus"):
        return None
    found = {name: metrics[name] for name in GpuUse.model_fields if name in metrics}
    # A float's digits are what the job wrote down; its binary value is not.
    found["seconds"] = str(found.get("seconds"))
    try:
        return GpuUse.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise BillingError(
            f"{key}: metrics.{first['loc'][0]}: {first['msg']}; its GPU time cannot be billed"
        ) from error


def _milliseconds(use: GpuUse) -> int:
    return int((use.seconds * 1000 * use.gpus).to_integral_value(rounding=ROUND_HALF_EVEN))


def _key(run: RunRow) -> str:
    return run_key(month_of(run.day), run.domain, run.run_id)


def _read(store: ObjectStore, key: str) -> RunRow:
    try:
        record, _ = documents.read(store, key, RunRecord)
    except RegistryError as error:
        raise BillingError(f"run {error}") from error
    if _key(record.run) != key:
        raise BillingError(f"run {key}: what it says belongs to {_key(record.run)}")
    return record.run
