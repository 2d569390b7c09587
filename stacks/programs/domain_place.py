"""A domain at its place: on this machine, or on a cluster."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from components.tenant import Tenant, TenantArgs
from serving.edge.routes import http_route
from serving.router.tenancy import AnsweredBy, Routing, TenancyRecord
from stacks.config.domain import DomainConfig
from stacks.config.load import ConfigError
from stacks.contract import EnvironmentContract, LocalPlace
from stacks.paths import ROOT
from stacks.programs.domain_on_kubernetes import declare_on_kubernetes
from stacks.programs.place import DomainPlace
from substrates.local.substrate import LocalSubstrate


def declare_place(domain: DomainConfig, contract: EnvironmentContract) -> DomainPlace:
    """Declare the tenant, and whatever its jobs need.

    Raises:
        ConfigError: A dataset is not where the jobs may read.
    """
    record_of, route = partial(_tenancy_record, domain), _route(domain, contract)
    if isinstance(contract.place, LocalPlace):
        return _locally(domain, contract.place, record_of, route)
    try:
        return declare_on_kubernetes(
            domain, contract, contract.place, record_of=record_of, http_route=route
        )
    except ValueError as error:
        raise ConfigError(f"pipeline:domain ({domain.name}): dataset: {error}") from error


def _locally(
    domain: DomainConfig,
    place: LocalPlace,
    record_of: Callable[[Sequence[str]], str],
    route: dict[str, Any] | None,
) -> DomainPlace:
    substrate = LocalSubstrate(root=ROOT, home=Path(place.home))
    tenant = Tenant(
        domain.name,
        TenantArgs(
            substrate=substrate,
            domain=domain.name,
            record_of=record_of,
            key_serials=domain.key_serials,
            http_route=route or {},
        ),
    )
    return DomainPlace(jobs=substrate, key=tenant.key)


def _route(domain: DomainConfig, contract: EnvironmentContract) -> dict[str, Any] | None:
    if contract.gateway is None:
        return None
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
        answered_by=_answered_by(domain),
    )
    return record.model_dump_json(by_alias=True, indent=2) + "\n"


def _answered_by(domain: DomainConfig) -> AnsweredBy:
    if domain.trained is None:
        return "base"
    return "release" if domain.routing.before_first_release == "refuse" else "base-until-release"
