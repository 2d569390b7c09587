"""The program of an environment stack."""

import pulumi

from components.service import EnvironmentService, EnvironmentServiceArgs
from stacks import contract as contracts
from stacks.config.load import EnvironmentStack
from stacks.config.phases import shortfall
from stacks.local_workloads import LocalWorkloads
from stacks.paths import ROOT, StateDirectory
from stacks.programs.errors import readable_errors
from substrates.local.substrate import LocalSubstrate
from substrates.workload import Job, Service


def run(stack: EnvironmentStack, *, state: StateDirectory) -> None:
    """Declare an environment stack.

    Args:
        stack: Its configuration.
        state: Where a local environment keeps everything.

    Raises:
        pulumi.RunError: The configuration does not make a working environment.
    """
    with readable_errors():
        _declare(stack, state)


def _declare(stack: EnvironmentStack, state: StateDirectory) -> None:
    if (missing := shortfall(stack.environment.phase)) is not None:
        pulumi.log.warn(missing)
    substrate = LocalSubstrate(root=ROOT, home=state.home(stack.name))
    workloads = LocalWorkloads(stack.environment, state, substrate)

    def declare(
        service: Service, *after: EnvironmentService, before: tuple[Job, ...] = ()
    ) -> EnvironmentService:
        args = EnvironmentServiceArgs(
            substrate=substrate,
            service=service,
            before=before,
            after=tuple(component.workload for component in after),
        )
        return EnvironmentService(service.name, args)

    mlflow = declare(workloads.mlflow())
    vllm = declare(workloads.vllm(), before=(workloads.base_model(),))
    sync = declare(workloads.adapter_sync(), vllm, before=(workloads.evaluation_key(),))
    # What depends on it goes first: the shipper ends after the router, and ships its last events.
    shipper = declare(workloads.shipper())
    router = declare(workloads.router(), sync, mlflow, shipper)
    edge = declare(workloads.edge())
    declare(workloads.envoy(), edge, router)
    declare(workloads.sampler(), router)
    pulumi.export(contracts.OUTPUT, workloads.contract.model_dump(mode="json"))
