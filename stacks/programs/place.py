"""Where a domain's release is declared."""

from dataclasses import dataclass

import pulumi

from substrates.substrate import JobSubstrate


@dataclass(frozen=True, kw_only=True)
class DomainPlace:
    """What a release is declared on."""

    jobs: JobSubstrate
    key: pulumi.Output[str]
    """The current key of the domain, a secret."""
