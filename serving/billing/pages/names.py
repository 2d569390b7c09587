"""File names of the pages. No I/O."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

# The form that the configuration asks of a customer; such a name is a safe part of a file name.
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def report_name(month: str) -> str:
    """Name of the usage report."""
    return f"report-{month}.html"


def invoice_names(customers: Iterable[str]) -> dict[str, str]:
    """Name of each customer's invoice.

    Names of another form than the configuration's, and names that differ in case alone, which some
    file systems do not tell apart, carry a digest after a dot. No plain name has a dot, so that no
    two customers share a file.
    """
    customers = list(customers)
    folded = Counter(customer.casefold() for customer in customers)
    return {
        customer: f"invoice-{_stem(customer, alone=folded[customer.casefold()] == 1)}.html"
        for customer in customers
    }


def _stem(customer: str, *, alone: bool) -> str:
    if alone and _PLAIN.fullmatch(customer):
        return customer
    digest = hashlib.sha256(customer.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{re.sub('[^A-Za-z0-9-]', '_', customer)[:63]}.{digest[:16]}"
