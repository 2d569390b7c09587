"""What the registry says of releases and their verdicts."""

import logging
from dataclasses import dataclass

from registry.errors import NotFoundError, RegistryError
from registry.evaluation import Evaluation, read_evaluation
from registry.manifest import list_domains, list_versions
from registry.pointer import Pointer, read_pointer
from registry.store import ObjectStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainGate:
    """One domain: its pointer, and the verdicts on its newest version and its releases."""

    pointer: Pointer
    evaluations: tuple[Evaluation, ...]
    """As stored: signatures are checked where a verdict decides something, not here."""


def read_gate(store: ObjectStore) -> tuple[DomainGate, ...]:
    """Read every domain; one that is damaged is left out and logged.

    Raises:
        RegistryError: The registry cannot be listed.
        OSError: It is away.
    """
    found = []
    for domain in list_domains(store):
        try:
            found.append(_read_domain(store, domain))
        except RegistryError as error:
            _log.error("%s: no gate results: %s", domain, error)
    return tuple(found)


def _read_domain(store: ObjectStore, domain: str) -> DomainGate:
    pointer = read_pointer(store, domain)
    versions = {pointer.live, pointer.previous, max(list_versions(store, domain), default=None)}
    evaluations = []
    for version in sorted(version for version in versions if version is not None):
        try:
            evaluations.append(read_evaluation(store, domain, version))
        except NotFoundError:
            continue
    return DomainGate(pointer, tuple(evaluations))
