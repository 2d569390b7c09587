"""What closing a month would forfeit. No I/O.

A closed month bills its days up to the parts that it names. What was named there and not billed is
in those parts, so no later month bills it either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from serving.billing.errors import BillingError
from serving.billing.usage import Attention, AttentionKind

FORFEITED: Final[frozenset[AttentionKind]] = frozenset(
    {"foreign-run", "missing-file", "no-price", "unknown-customer", "unreadable-file"}
)
"""Kinds that somebody can put right before the month is closed."""


@dataclass(frozen=True)
class AcceptedUnbilled:
    """What a month was closed without, and why."""

    kind: str
    where: str
    reason: str

    @property
    def name(self) -> str:
        """`KIND:WHERE`, as the command line takes it."""
        return f"{self.kind}:{self.where}"

    @classmethod
    def named(cls, name: str, reason: str) -> Self:
        """Make one of `KIND:WHERE`.

        Raises:
            BillingError: The name is another text, or there is no reason.
        """
        kind, _, where = name.partition(":")
        if not kind or not where:
            raise BillingError(
                f"--accept-unbilled {name!r}: write it as KIND:WHERE, such as "
                "unknown-customer:customer-bank-A"
            )
        if not reason.strip():
            raise BillingError(f"--accept-unbilled {name}: give a --reason, which is kept")
        return cls(kind, where, reason.strip())


def refuse_forfeited(
    found: Iterable[Attention], accepted: Iterable[AcceptedUnbilled], month: str
) -> None:
    """Refuse to close a month over what it would forfeit and nobody has accepted.

    Raises:
        BillingError: There is something like that, or what was accepted is not there.
    """
    there = {f"{each.kind}:{each.where}": each for each in found if each.kind in FORFEITED}
    names = {each.name for each in accepted}
    if unknown := sorted(names - there.keys()):
        raise BillingError(
            f"--accept-unbilled {unknown[0]}: {month} has nothing like that; it has "
            f"{', '.join(sorted(there)) or 'nothing to accept'}"
        )
    left = sorted(there.keys() - names)
    if left:
        named = "; ".join(f"{name}: {there[name].detail}" for name in left)
        raise BillingError(
            f"{month} cannot be closed: no later month would bill this either: {named}. Put it "
            f"right, or give it up with --accept-unbilled {left[0]} --reason '…'"
        )
