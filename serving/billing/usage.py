"""What was used, as billing sees it: rows of day parts, pod intervals, runs. No I/O."""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal

PriceClass = Literal["spot", "on-demand"]

AttentionKind = Literal[
    "accepted-loss",
    "billed-missing",
    "clock",
    "damaged-segment",
    "duplicate-id",
    "foreign-adapter",
    "foreign-run",
    "incomplete-record",
    "invalid-tokens",
    "lost-volume",
    "missing-file",
    "no-price",
    "short-pod-report",
    "unknown-customer",
    "unknown-pod",
    "unmeasured",
    "unreadable-file",
]
"""What a person must look at. Not billed, unless it says otherwise:

- `accepted-loss`: what a lost ledger held; it was given up when the month was closed.
- `billed-missing`: requests that a closed month bills; the files of their day lack them now.
- `clock`: the id of a request is of another day than its file (not billed) or its times (billed);
  or files are of a day that has not come.
- `damaged-segment`: a ledger's segment, from a line on that cannot be read.
- `duplicate-id`: records of one id differ; the first to end is billed.
- `foreign-adapter`: answered by the adapter of another domain.
- `foreign-run`: a job that says it was for another customer than its domain's requests.
- `incomplete-record`: a request without the fields that every request has.
- `invalid-tokens`: a token count that cannot be.
- `lost-volume`: what a ledger held that its writer came back without.
- `missing-file`: a file that was shipped and is gone.
- `no-price`: used on days before the price table begins.
- `short-pod-report`: GPU time of a day whose reports of pods do not reach its end.
- `unknown-customer`: the price table lists customers, and not this one.
- `unknown-pod`: GPU time of a pod that no report has, or of a pool where nobody knows the pod; the
  tokens of its answers are billed.
- `unmeasured`: requests of a customer whose tokens the model server never reported.
- `unreadable-file`: a file of the warehouse.

`foreign-run`, `missing-file`, `no-price`, `unknown-customer` and `unreadable-file` keep a month
from being closed, unless they are accepted by name.
"""


@dataclass(frozen=True)
class Counts:
    """Sums over requests. Tokens of failed and unmeasured requests are in none of them."""

    requests: int = 0
    failed: int = 0
    """Requests that ended with a status of 500 or more."""
    unmeasured: int = 0
    """Other requests whose tokens the model server never reported."""
    input_tokens: int = 0
    """All input tokens, those from the prefix cache included."""
    cached_tokens: int = 0
    output_tokens: int = 0
    wasted_input_tokens: int = 0
    """Tokens of answers by `slm` that the cascade threw away; in none of the sums above."""
    wasted_cached_tokens: int = 0
    wasted_output_tokens: int = 0


NO_COUNTS: Final = Counts()


@dataclass(frozen=True)
class UsageRow:
    """One day of one customer, domain, adapter, pool and experiment arm."""

    day: dt.date
    customer: str
    domain: str
    served_model: str
    version: str | None
    pool: str
    experiment: str | None
    counts: Counts


@dataclass(frozen=True)
class GpuRow:
    """GPU time of one day on one pod. A pod's rows add up to its GPU-milliseconds of the day."""

    day: dt.date
    pod: str
    pool: str
    gpu_type: str
    price_class: PriceClass
    kind: Literal["used", "idle", "unmeasured", "late"]
    """Only what was used has a customer, domain and adapter. `late`: reported after its month was
    closed; in no part."""
    customer: str | None
    domain: str | None
    served_model: str | None
    gpu_ms: int


@dataclass(frozen=True)
class PodInterval:
    """Time in which a pod held GPUs, as the cluster reports it."""

    pod: str
    pool: str
    gpu_type: str
    gpus: int
    price_class: PriceClass
    started: dt.datetime
    ended: dt.datetime


@dataclass(frozen=True)
class RunRow:
    """GPU time of a training or evaluation job."""

    day: dt.date
    run_id: str
    kind: Literal["training", "evaluation"]
    customer: str
    domain: str
    gpu_type: str
    price_class: PriceClass
    gpu_ms: int


@dataclass(frozen=True)
class Attention:
    """Something that keeps requests out of the invoices, or makes a sum doubtful."""

    kind: AttentionKind
    where: str
    """File, customer, writer or day that it was found in."""
    detail: str
    """What it is and what to do."""
    requests: int = 0


@dataclass(frozen=True)
class Orphan:
    """A request that was admitted and has no end; its tokens are unknown and not billed."""

    request_id: str
    admitted: dt.datetime
    customer: str
    domain: str
    served_model: str
    pool: str
    writer: str


@dataclass(frozen=True)
class DayPart:
    """One UTC day, de-duplicated and summed."""

    day: dt.date
    digest: str
    """`sha256:…` over the part's inputs and what was made of them."""
    usage: tuple[UsageRow, ...]
    gpu: tuple[GpuRow, ...]
    orphans: tuple[Orphan, ...]
    attention: tuple[Attention, ...]
    pods_until: dt.datetime | None = None
    """End of the last interval of a pod that was reported; None when there is none."""
