"""What the warehouse says of the way from the ledger to closed months."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from registry.store import ObjectStore

_CLOSED: Final = re.compile(r"closed/(\d{4})-(\d{2})\.json")
_DAY: Final = re.compile(r"parts/day=(\d{4})-(\d{2})-\d{2}/.+")


@dataclass(frozen=True)
class BillingHealth:
    """Sums over what is not billed yet."""

    shipped: Mapping[str, dt.datetime]
    """Up to when a writer has shipped everything; writers that have ended are left out."""
    damaged: Mapping[str, int]
    """Segments that a writer cannot ship, because they are damaged."""
    lost: Mapping[str, int]
    """Volumes that a writer came back without before all of them was shipped."""
    closed_until: dt.datetime | None
    """End of the newest closed month; before the first, begin of the first month with a part; None
    before there is any."""
    orphans: int
    attention: Mapping[str, int]
    """Findings that wait for a person, by kind."""
