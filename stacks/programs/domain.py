"""The program of a domain stack."""

from collections.abc import Callable
from typing import Final

import pulumi

from components.adapter_release import AdapterRelease, AdapterReleaseArgs, JobOf
from registry.observe import observe
from registry.release import Observed, Plan, plan
from registry.store import open_store
from stacks import contract as contracts
from stacks.config.domain import DomainConfig, TrainedDomain
from stacks.config.load import DomainStack
from stacks.contract import EnvironmentContract
from stacks.paths import PROJECT
from stacks.programs.domain_place import declare_place
from stacks.programs.errors import readable_errors
from stacks.release_inputs import desired_release
from substrates.substrate import JobSubstrate

BASE: Final = "base"
"""State of a domain that base models answer for."""
JobFactory = Callable[[TrainedDomain, EnvironmentContract, JobSubstrate, Observed], JobOf]


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
    if (trained := domain.trained) is None:
        place, summary = declare_place(domain, contract), _unreleased(domain)
    else:
        observed, decided = _decide(trained, contract, retry=retry)
        place, summary = declare_place(domain, contract), _summary(trained, decided)
        AdapterRelease(
            domain.name,
            AdapterReleaseArgs(
                substrate=place.jobs,
                plan=decided,
                job_of=jobs(trained, contract, place.jobs, observed),
            ),
        )
    pulumi.export("key", place.key)
    pulumi.export("edge_url", contract.edge_url)
    pulumi.export("release", summary)


def _decide(
    domain: TrainedDomain, contract: EnvironmentContract, *, retry: bool
) -> tuple[Observed, Plan]:
    if domain.gate.cannot_run:
        pulumi.log.warn(
            f"{domain.name}: this version cannot run {', '.join(domain.gate.cannot_run)}: the "
            "evaluation will fail on it, and nothing is released"
        )
    desired = desired_release(domain, contract)
    names = domain.gate.experts.names
    observed = observe(
        open_store(contract.registry_uri),
        desired,
        evaluation_public_key=contract.verifying_key,
        reviewers=None if names == "anyone" else names,
    )
    return observed, plan(desired, observed, retry=retry)


def _unreleased(domain: DomainConfig) -> dict[str, object]:
    """The summary of a domain that trains nothing: it rests, and nothing is ever pending."""
    return {
        "domain": domain.name,
        "version": None,
        "state": BASE,
        "resting": True,
        "message": f"nothing is trained: the base models of {', '.join(domain.pools)} answer",
        "pending": [],
    }


def _summary(domain: TrainedDomain, decided: Plan) -> dict[str, object]:
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
