"""A domain at its place: on this machine, or on a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pulumi

from components.tenant import Tenant, TenantArgs
from serving.edge.routes import http_route
from serving.router.tenancy import Routing, TenancyRecord
from stacks.config.domain import DomainConfig
from stacks.contract import EnvironmentContract, LocalPlace
from stacks.paths import ROOT
from substrates.local.substrate import LocalSubstrate
from substrates.substrate import JobSubstrate


@dataclass(frozen=True, kw_only=True)
class DomainPlace:
    """What a release is declared on."""

    jobs: JobSubstrate
    key: pulumi.Output[str]
    """The current key of the domain, a secret."""


def declare_place(domain: DomainConfig, contract: EnvironmentContract) -> DomainPlace:
    """Declare the tenant, and whatever its jobs need."""
    if contract.local is None:
        raise NotImplementedError
    return _locally(domain, contract, contract.local)


def _locally(domain: DomainConfig, contract: EnvironmentContract, place: LocalPlace) -> DomainPlace:
    substrate = LocalSubstrate(root=ROOT, home=Path(place.home))
    tenant = Tenant(
        domain.name,
        TenantArgs(
            substrate=substrate,
            domain=domain.name,
            record_of=partial(_tenancy_record, domain),
            key_serials=domain.key_serials,
            http_route=_route(domain, contract),
        ),
    )
    return DomainPlace(jobs=substrate, key=tenant.key)


def _route(domain: DomainConfig, contract: EnvironmentContract) -> dict[str, object]:
    return http_route(
        domain=domain.name,
        aliases=domain.header_aliases,
        namespace=contract.namespace,
        gateway=contract.gateway,
        service=contract.router_service,
        port=contract.router_port,
    )


def _tenancy_record(domain: DomainConfig, key_hashes: Sequence[str]) -> str:
    record = TenancyRecord(
        schema=1,
        domain=domain.name,
        customer=domain.customer,
        header_aliases=domain.header_aliases,
        key_hashes=tuple(key_hashes),
        pools=tuple(domain.pools),
        routing=Routing(mode=domain.routing.mode),
        content_capture=domain.routing.content_capture,
    )
    return record.model_dump_json(by_alias=True, indent=2) + "\n"
