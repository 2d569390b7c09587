"""The pointer of a domain: which version is live, how it got there, and whether it is held.

Every move is a compare-and-swap over the whole document, so two writers never both win, and a
release that was decided on an older state cannot undo what happened since.
"""

from datetime import UTC, datetime
from typing import Literal

from registry import documents, layout
from registry.documents import Document
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.names import DomainName, Version, VersionField
from registry.store import ObjectStore


class Hold(Document):
    """A mark that stops every release until someone lifts it."""

    reason: str
    by: str
    at: datetime


class Move(Document):
    """One change of the pointer."""

    generation: int
    action: Literal["release", "rollback", "lift-hold"]
    version: VersionField
    """The live version after the change."""
    bundle_digest: str
    by: str
    reason: str
    at: datetime


class Pointer(Document):
    """What is live. Generation 0 is the pointer of a domain that has never released."""

    schema_version: Literal[1] = 1
    domain: DomainName
    live: VersionField | None = None
    previous: VersionField | None = None
    generation: int = 0
    hold: Hold | None = None
    history: tuple[Move, ...] = ()

    def release_generation(self, version: Version) -> int | None:
        """Generation that the latest release of this version was decided on; None without one."""
        moves = (
            m for m in reversed(self.history) if m.action == "release" and m.version == version
        )
        move = next(moves, None)
        return None if move is None else move.generation - 1

    def bundle_digest(self, version: Version) -> str | None:
        """The bundle under which a version was released; None if it never was."""
        moves = (m for m in reversed(self.history) if m.version == version)
        move = next(moves, None)
        return None if move is None else move.bundle_digest


def read_pointer(store: ObjectStore, domain: str) -> Pointer:
    """Read a domain's pointer; a domain that has never released has an empty one.

    Raises:
        RegistryError: The pointer is damaged.
    """
    return _read(store, domain)[0]


def release(
    store: ObjectStore,
    domain: str,
    *,
    version: Version,
    bundle_digest: str,
    generation: int,
    by: str,
) -> Pointer:
    """Make a version live, if the pointer is still at `generation` and not held.

    The caller has verified the gate; this function only moves.

    Raises:
        PreconditionFailedError: The pointer has moved, or is held.
    """
    pointer, etag = _read(store, domain)
    if pointer.generation != generation:
        raise PreconditionFailedError(
            f"the pointer of {domain} is at generation {pointer.generation}, the release of "
            f"{version} was decided at generation {generation}: run `pipeline up` again"
        )
    if pointer.hold is not None:
        raise PreconditionFailedError(_held(pointer))
    moved = _moved(pointer, "release", version, bundle_digest, by, reason="gate passed", hold=None)
    return _swap(store, moved, etag)


def rollback(
    store: ObjectStore, domain: str, *, to: Version | None, by: str, reason: str
) -> Pointer:
    """Make an earlier release live again and hold the pointer there.

    Args:
        store: The registry.
        domain: The domain.
        to: The version to go back to; None means the newest release that is older than the live one
            and that no rollback has left behind, so that a second rollback goes on back.
        by: Who decided.
        reason: Why, for the hold.

    Raises:
        RegistryError: Nothing to go back to, or the version was never live.
        PreconditionFailedError: Another move happened meanwhile.
    """
    pointer, etag = _read(store, domain)
    target = to or _before_live(pointer)
    if pointer.live is None or target is None:
        raise RegistryError(f"{domain} has no earlier release to go back to (live: {pointer.live})")
    if target == pointer.live:
        raise RegistryError(f"{domain} {target} is live already")
    digest = pointer.bundle_digest(target)
    if digest is None:
        raise RegistryError(
            f"{domain} {target} was never live: a rollback goes to a released version"
        )
    hold = Hold(reason=reason, by=by, at=_now())
    return _swap(
        store, _moved(pointer, "rollback", target, digest, by, reason=reason, hold=hold), etag
    )


def lift_hold(store: ObjectStore, domain: str, *, by: str, reason: str) -> Pointer:
    """Remove the hold, so that the next `up` may release again.

    Raises:
        RegistryError: The pointer is not held.
        PreconditionFailedError: Another move happened meanwhile.
    """
    pointer, etag = _read(store, domain)
    if pointer.hold is None or pointer.live is None:
        raise RegistryError(f"{domain} is not held")
    digest = pointer.bundle_digest(pointer.live)
    if digest is None:
        raise RegistryError(
            f"the pointer of {domain} is damaged: {pointer.live} is live without a history"
        )
    return _swap(
        store,
        _moved(pointer, "lift-hold", pointer.live, digest, by, reason=reason, hold=None),
        etag,
    )


def _before_live(pointer: Pointer) -> Version | None:
    """The newest older release that no rollback has left behind."""
    released: set[Version] = set()
    live: Version | None = None
    for move in pointer.history:
        if move.action == "rollback" and live is not None:
            released.discard(live)
        released.add(move.version)
        live = move.version
    return max((v for v in released if live is not None and v < live), default=None)


def _held(pointer: Pointer) -> str:
    hold = pointer.hold
    assert hold is not None  # noqa: S101  callers checked
    return (
        f"{pointer.domain} is held at {pointer.live} by {hold.by} ({hold.reason}): "
        "lift the hold first with `pipeline release --lift-hold`"
    )


def _read(store: ObjectStore, domain: str) -> tuple[Pointer, str | None]:
    try:
        return documents.read(store, layout.pointer(domain), Pointer)
    except NotFoundError:
        return Pointer(domain=domain), None


def _swap(store: ObjectStore, pointer: Pointer, etag: str | None) -> Pointer:
    store.put(
        layout.pointer(pointer.domain),
        documents.encode(pointer),
        if_match=etag,
        if_none_match=etag is None,
    )
    return pointer


def _moved(
    pointer: Pointer,
    action: Literal["release", "rollback", "lift-hold"],
    version: Version,
    bundle_digest: str,
    by: str,
    *,
    reason: str,
    hold: Hold | None,
) -> Pointer:
    generation = pointer.generation + 1
    move = Move(
        generation=generation,
        action=action,
        version=version,
        bundle_digest=bundle_digest,
        by=by,
        reason=reason,
        at=_now(),
    )
    return pointer.model_copy(
        update={
            "live": version,
            "previous": pointer.previous if version == pointer.live else pointer.live,
            "generation": generation,
            "hold": hold,
            "history": (*pointer.history, move),
        }
    )


def _now() -> datetime:
    return datetime.now(UTC)
