"""Whether the writers of the ledger have told everything about a month. No I/O but reading."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from registry.errors import RegistryError
from registry.store import ObjectStore
from serving.billing.closed import AcceptedLoss
from serving.billing.errors import BillingError
from serving.billing.usage import Attention
from serving.warehouse import reading
from serving.warehouse.writers import WriterState


@dataclass(frozen=True)
class Behind:
    """A ledger that may still hold requests of a month."""

    writer: str
    ledger_id: str
    shipped_until: dt.datetime | None
    lost: bool
    """Its writer came back without it."""

    @property
    def name(self) -> str:
        """`WRITER:LEDGER_ID`, as the command line takes it."""
        return f"{self.writer}:{self.ledger_id}"

    def __str__(self) -> str:
        until = f"until {self.shipped_until.isoformat()}" if self.shipped_until else "never"
        return f"{self.name}{' (lost)' if self.lost else ''}, shipped {until}"


def read_writers(store: ObjectStore) -> tuple[WriterState, ...]:
    """Return what is known of each writer.

    Raises:
        BillingError: It cannot be read.
    """
    try:
        return reading.read_writers(store)
    except RegistryError as error:
        raise BillingError(f"writer {error}") from error


def behind(writers: Iterable[WriterState], end: dt.datetime) -> tuple[Behind, ...]:
    """Return the ledgers that may hold requests admitted before `end` and not shipped."""
    found: list[Behind] = []
    for state in writers:
        ledgers = [
            Behind(state.writer, lost.ledger_id, lost.shipped_until, lost=True)
            for lost in state.lost
        ]
        if not state.finished:
            ledgers.append(Behind(state.writer, state.ledger_id, state.shipped_until, lost=False))
        found += [
            each for each in ledgers if each.shipped_until is None or each.shipped_until < end
        ]
    return tuple(found)


def refuse_behind(found: Iterable[Behind], accepted: Iterable[AcceptedLoss], month: str) -> None:
    """Refuse to close a month without ledgers that nobody has given up.

    Raises:
        BillingError: Such a ledger, or one that was given up and is not behind.
    """
    behind_names = {each.name: each for each in found}
    given_up = {loss.name for loss in accepted}
    if unknown := sorted(given_up - behind_names.keys()):
        raise BillingError(
            f"--accept-lost {unknown[0]}: no such ledger is behind; these are: "
            f"{', '.join(behind_names) or 'none'}"
        )
    waiting = [each for name, each in sorted(behind_names.items()) if name not in given_up]
    if waiting:
        raise BillingError(
            f"{month} cannot be closed: these ledgers may hold requests of it: "
            f"{'; '.join(map(str, waiting))}. Start their shippers, or, where a volume is lost for "
            f"good, repeat with --accept-lost {waiting[0].name} --reason '…'"
        )


def as_given_up(
    accepted: Iterable[AcceptedLoss], found: Iterable[Behind]
) -> tuple[AcceptedLoss, ...]:
    """Return the accepted losses by name, each with how far it was shipped."""
    until = {each.name: each.shipped_until for each in found}
    return tuple(
        replace(loss, shipped_until=until[loss.name])
        for loss in sorted(accepted, key=lambda loss: loss.name)
    )


def attention(
    found: Iterable[Behind], accepted: Iterable[AcceptedLoss], writers: Iterable[WriterState]
) -> list[Attention]:
    """Name what a bill has to do without: lost ledgers and damaged segments."""
    reasons = {loss.name: loss.reason for loss in accepted}
    named = [
        Attention(
            "accepted-loss" if each.name in reasons else "lost-volume",
            each.name,
            f"{each}: what it held after that is not billed; "
            + (
                f"given up: {reasons[each.name]}"
                if each.name in reasons
                else "find the volume, or give it up when the month is closed"
            ),
        )
        for each in found
        if each.lost or each.name in reasons
    ]
    damaged = [
        Attention("damaged-segment", state.writer, f"{sentence}; what follows is not billed")
        for state in writers
        for sentence in state.damaged
    ]
    return [*named, *damaged]
