"""The program of a domain stack."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pulumi

from components.adapter_release import AdapterRelease, AdapterReleaseArgs, JobOf
from components.tenant import Tenant, TenantArgs
from registry.observe import observe
from registry.release import Observed, Plan, plan
from registry.store import open_store
from serving.edge.routes import http_route
from serving.router.tenancy import Routing, TenancyRecord
from stacks import contract as contracts
from stacks.config.domain import DomainConfig
from stacks.config.load import DomainStack
from stacks.contract import EnvironmentContract
from stacks.paths import PROJECT, ROOT
from stacks.programs.errors import readable_errors
from stacks.release_inputs import desired_release
from substrates.local.substrate import LocalSubstrate
from substrates.substrate import Substrate

JobFactory = Callable[[DomainConfig, EnvironmentContract, Substrate, Observed], JobOf]


async def run(stack: DomainStack, *, jobs: JobFactory, retry: bool = False) -> None:
    """Declare a domain stack.

    Args:
        stack: Its configuration.
        jobs: Renders the steps of a release as jobs.
        retry: Give runs that used up their attempts another one.

    Raises:
        pulumi.RunError: The registry or the environment contradicts the configuration.
    """
    with readable_errors():
        await _declare(stack, jobs=jobs, retry=retry)


async def _declare(stack: DomainStack, *, jobs: JobFactory, retry: bool) -> None:
    contract = await _environment(stack.environment)
    domain = stack.domain
    contracts.refuse_beyond_contract(domain, contract)
    observed, decided = _decide(domain, contract, retry=retry)
    substrate = LocalSubstrate(root=ROOT, home=Path(contract.home))
    tenant = Tenant(
        domain.name,
        TenantArgs(
            substrate=substrate,
            domain=domain.name,
            record_of=partial(_tenancy_record, domain),
            key_serials=domain.key_serials,
            http_route=http_route(
                domain=domain.name,
                aliases=domain.header_aliases,
                namespace=contract.namespace,
                gateway=contract.gateway,
                service=contract.router_service,
                port=contract.router_port,
            ),
        ),
    )
    AdapterRelease(
        domain.name,
        AdapterReleaseArgs(
            substrate=substrate,
            plan=decided,
            job_of=jobs(domain, contract, substrate, observed),
        ),
    )
    pulumi.export("key", tenant.key)
    pulumi.export("edge_url", contract.edge_url)
    pulumi.export("release", _summary(domain, decided))


def _decide(
    domain: DomainConfig, contract: EnvironmentContract, *, retry: bool
) -> tuple[Observed, Plan]:
    desired = desired_release(domain, contract)
    names = domain.gate.experts.names
    observed = observe(
        open_store(contract.registry_uri),
        desired,
        evaluation_public_key=Path(contract.evaluation_public_key),
        reviewers=None if names == "anyone" else names,
    )
    return observed, plan(desired, observed, retry=retry)


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


def _summary(domain: DomainConfig, decided: Plan) -> dict[str, object]:
    return {
        "domain": domain.name,
        "version": str(domain.version),
        "state": str(decided.state),
        "resting": decided.state.resting,
        "message": decided.message,
        "pending": [step.run_id for step in decided.pending],
    }


async def _environment(name: str) -> EnvironmentContract:
    reference = pulumi.StackReference(f"organization/{PROJECT}/{name}")
    details = await reference.get_output_details(contracts.OUTPUT)
    return contracts.parse_contract(details.value, name)
