"""Which adapters a pool should hold: the rule. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from registry.manifest import Manifest
from registry.names import PoolName, Version, served_name
from registry.pointer import Pointer


class Role(IntEnum):
    """Why an adapter is wanted; the lower, the more important."""

    LIVE = 0
    PREVIOUS = 1
    CANDIDATE = 2


@dataclass(frozen=True)
class WantedAdapter:
    """One adapter that the server should hold."""

    domain: str
    version: str
    digest: str
    files: Mapping[str, str]
    """File name to `sha256:<hex>`."""
    base_model: str
    rank: int
    role: Role

    @property
    def name(self) -> str:
        """The served name."""
        return served_name(self.domain, Version.parse(self.version))


@dataclass(frozen=True)
class RefusedAdapter:
    """One adapter that is wanted but must not be held."""

    name: str
    domain: str
    version: str
    digest: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """A version and what its verdict says."""

    manifest: Manifest | None
    passed: bool | None
    """None before the evaluation."""
    problem: str = ""
    """Why manifest or verdict cannot be trusted."""


def versions_of_interest(
    pointer: Pointer, versions: list[Version], *, include_candidates: bool
) -> dict[Version, Role]:
    """Versions that a pool may have to hold, each with its role."""
    roles: dict[Version, Role] = {}
    if include_candidates:
        roles = {
            version: Role.CANDIDATE
            for version in versions
            if pointer.live is None or version > pointer.live
        }
    if pointer.previous is not None:
        roles[pointer.previous] = Role.PREVIOUS
    if pointer.live is not None:
        roles[pointer.live] = Role.LIVE
    return roles


def choose(
    pointer: Pointer,
    roles: Mapping[Version, Role],
    judged: Mapping[Version, Judged],
    pool: PoolName,
) -> tuple[list[WantedAdapter], list[RefusedAdapter]]:
    """Split the versions of one domain into wanted and refused adapters.

    A release (live or the one before) needs a passed verdict over the bundle that the pointer
    names. A candidate must not have failed. A version that leaves the pool on its base model needs
    no adapter.
    """
    wanted: list[WantedAdapter] = []
    refused: list[RefusedAdapter] = []
    for version, role in roles.items():
        verdict = judged[version]
        if role is Role.CANDIDATE and verdict.passed is False:
            continue
        manifest = verdict.manifest
        adapter = None if manifest is None else manifest.adapter(pool)
        if manifest is not None and adapter is None:
            continue
        reason = _refusal(pointer, version, role, verdict)
        if reason or adapter is None:
            refused.append(
                RefusedAdapter(
                    name=served_name(pointer.domain, version),
                    domain=pointer.domain,
                    version=str(version),
                    digest=adapter.adapter_digest if adapter else "",
                    reason=reason,
                )
            )
            continue
        wanted.append(
            WantedAdapter(
                domain=pointer.domain,
                version=str(version),
                digest=adapter.adapter_digest,
                files=adapter.files,
                base_model=adapter.base_model,
                rank=adapter.rank,
                role=role,
            )
        )
    return wanted, refused


def fit(
    wanted: list[WantedAdapter], slots: int
) -> tuple[list[WantedAdapter], list[RefusedAdapter]]:
    """Order by importance; what does not fit the server is refused, but never a live one."""
    ordered = sorted(wanted, key=lambda adapter: (adapter.role, adapter.name))
    live = sum(adapter.role is Role.LIVE for adapter in ordered)
    kept = ordered[: max(slots, live)]
    refused = [
        RefusedAdapter(
            adapter.name,
            adapter.domain,
            adapter.version,
            adapter.digest,
            f"no free place: the server keeps {slots} adapters (max_cpu_loras)",
        )
        for adapter in ordered[len(kept) :]
    ]
    return kept, refused


def _refusal(pointer: Pointer, version: Version, role: Role, verdict: Judged) -> str:
    if verdict.problem:
        return verdict.problem
    if role is Role.CANDIDATE or verdict.manifest is None:
        return ""
    if verdict.passed is not True:
        state = "has no evaluation" if verdict.passed is None else "did not pass its evaluation"
        return f"the pointer names {version}, which {state}"
    released = pointer.bundle_digest(version)
    if released != verdict.manifest.bundle_digest:
        return f"the pointer released bundle {released}, the registry holds another one"
    return ""
