"""The days of a warehouse, as `serving.billing.open_month` asks for them."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.billing.books import BilledPart
from serving.billing.compaction import day_part
from serving.billing.days import LateDay
from serving.billing.gpu_time import GpuWeights
from serving.billing.part_events import BilledRequest, late_usage, requests_of
from serving.billing.parts import frozen_part, read_stored_part
from serving.billing.usage import DayPart
from serving.warehouse.files import Warehouse


@dataclass(frozen=True)
class WarehouseDays:
    """Day parts of a warehouse. Methods raise BillingError as `serving.billing.compaction` does."""

    warehouse: Warehouse
    weights: GpuWeights

    def current(self, day: dt.date) -> DayPart:
        """The part of everything that has arrived of a day."""
        return day_part(self.warehouse, day, self.weights)

    def frozen(self, day: dt.date, digest: str) -> DayPart:
        """A part as it was when a month was closed."""
        return frozen_part(self.warehouse, day, digest)

    def late(self, day: dt.date, billed: Sequence[str]) -> LateDay:
        """What the newest part of a day adds to the parts of these digests, the last one last."""
        # Other weights than the last part's would make another part of the same files.
        weights = read_stored_part(self.warehouse, day, billed[-1]).weights
        newest = day_part(self.warehouse, day, weights)
        if newest.digest == billed[-1]:
            return LateDay(newest)
        rows, gone = late_usage(self.warehouse, day, billed=billed, newest=newest.digest)
        return LateDay(newest, rows, gone)

    def requests(
        self,
        part: BilledPart,
        *,
        customer: str,
        domain: str | None = None,
        served_model: str | None = None,
    ) -> Iterator[BilledRequest]:
        """Yield the requests that a month bills of a day, in the order of their admission."""

        def found(digest: str) -> Iterator[BilledRequest]:
            return requests_of(
                self.warehouse,
                part.day,
                digest,
                customer=customer,
                domain=domain,
                served_model=served_model,
            )

        before = {request.request_id for digest in part.less for request in found(digest)}
        return (request for request in found(part.digest) if request.request_id not in before)
