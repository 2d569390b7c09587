"""Reads the wanted set from the registry, domain by domain."""

import dataclasses
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import NotFoundError, RegistryError
from registry.manifest import list_domains, list_versions
from registry.names import PoolName, Version
from registry.pointer import read_pointer
from registry.store import ObjectStore
from registry.verified import read_consistent_manifest, read_verdict
from serving.adapter_sync.wanted import (
    Judged,
    RefusedAdapter,
    Role,
    WantedAdapter,
    choose,
    versions_of_interest,
)

_log = logging.getLogger(__name__)


@dataclass
class RegistryView:
    """What every domain wants. What cannot be read keeps its last known answer."""

    store: ObjectStore
    public_key: Path
    pool: PoolName
    include_candidates: bool
    last_good: Path
    """File with the last known answers, for a start while the registry is away."""
    _wanted: dict[str, list[WantedAdapter]] = field(default_factory=dict)
    _refused: dict[str, list[RefusedAdapter]] = field(default_factory=dict)
    _judged: dict[tuple[str, Version], Judged] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)

    def load_last_good(self) -> None:
        """Start from what an earlier process knew."""
        try:
            stored = json.loads(self.last_good.read_text())
            self._wanted = {
                domain: [_restored(values) for values in adapters]
                for domain, adapters in stored.items()
            }
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("%s is not used: %s", self.last_good, error)

    def refresh(self) -> tuple[list[WantedAdapter], list[RefusedAdapter]]:
        """Read the registry; every domain on its own, so that one cannot hold up another."""
        before = dict(self._wanted)
        for domain in self._domains():
            try:
                self._wanted[domain], self._refused[domain] = self._read(domain)
                self._problems.pop(domain, None)
            except (RegistryError, OSError) as error:
                self._note(domain, f"keeps its last known adapters: {error}")
        if self._wanted != before:
            self._save()
        return (
            [adapter for adapters in self._wanted.values() for adapter in adapters],
            [adapter for adapters in self._refused.values() for adapter in adapters],
        )

    def _domains(self) -> list[str]:
        """Domains of the registry; an empty or unreadable one is an outage if there were any."""
        try:
            domains = list_domains(self.store)
        except Exception as error:
            self._note("registry", f"cannot be read: {error}")
            return []
        if not domains and self._wanted:
            self._note("registry", "lists no domain although there were some: nothing changes")
            return []
        self._problems.pop("registry", None)
        for domain in self._wanted.keys() - domains:
            self._wanted[domain], self._refused[domain] = [], []
        return domains

    def _read(self, domain: str) -> tuple[list[WantedAdapter], list[RefusedAdapter]]:
        pointer = read_pointer(self.store, domain)
        versions = list_versions(self.store, domain) if self.include_candidates else []
        roles = versions_of_interest(pointer, versions, include_candidates=self.include_candidates)
        judged = {version: self._judge(domain, version) for version in roles}
        return choose(pointer, roles, judged, self.pool)

    def _judge(self, domain: str, version: Version) -> Judged:
        known = self._judged.get((domain, version))
        if known is not None:
            return known
        manifest = None
        try:
            manifest = read_consistent_manifest(self.store, domain, version)
            verdict = read_verdict(self.store, manifest, self.public_key)
        except NotFoundError as error:
            return Judged(manifest, None, str(error))
        except RegistryError as error:
            return Judged(manifest, None, str(error))
        judged = Judged(manifest, None if verdict is None else verdict.passed)
        if verdict is not None:
            # Manifest and verdict are immutable: they need no second look.
            self._judged[domain, version] = judged
        return judged

    def _save(self) -> None:
        text = json.dumps(
            {
                domain: [dataclasses.asdict(adapter) for adapter in adapters]
                for domain, adapters in self._wanted.items()
            }
        )
        temporary = self.last_good.with_suffix(".tmp")
        with temporary.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.last_good)

    def _note(self, subject: str, problem: str) -> None:
        if self._problems.get(subject) != problem:
            self._problems[subject] = problem
            _log.error("%s: %s", subject, problem)


def _restored(values: dict[str, object]) -> WantedAdapter:
    adapter = WantedAdapter(**values)  # type: ignore[arg-type]
    return dataclasses.replace(adapter, role=Role(adapter.role))
