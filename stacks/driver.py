"""Run a stack on the engine, and a domain stack until its release rests.

Pulumi is the release controller: each `up` reads the registry and declares what is next. The
driver only repeats `up` when a declared job has ended.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pulumi import automation as auto

from registry.runs import RunStatus, read_result, read_status
from registry.store import ObjectStore, open_store
from stacks.config.load import ConfigError, DomainStack
from stacks.contract import OUTPUT, EnvironmentContract, parse_contract
from stacks.engine import open_stack, stack_exists, when_free
from stacks.paths import StateDirectory
from stacks.programs import domain as domain_program
from stacks.programs.domain import JobFactory
from substrates.local.workloads import Workloads

_POLL_S = 0.5
MAX_LOSSES = 3
"""How often a job may vanish without a result in one `up` before a person must look."""


class ReleaseError(Exception):
    """A job ended in a way that another `up` would only repeat; the message holds its log."""


@dataclass(frozen=True)
class Release:
    """Where a release stands after an `up`."""

    domain: str
    version: str | None
    """None where nothing is trained."""
    state: str
    resting: bool
    message: str
    pending: tuple[str, ...]
    changes: int
    """Resources that this `up` created, updated or deleted."""


@dataclass
class _Ended:
    """Pending runs that came to an end."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Observer(Protocol):
    """Told about everything that takes time."""

    def engine(self, stack: str, event: auto.EngineEvent) -> None:
        """The engine did something."""

    def released(self, release: Release) -> None:
        """An `up` ended here."""

    def progress(self, domain: str, statuses: Iterable[RunStatus]) -> None:
        """Where the pending runs are; called a few times a second."""


class Driver:
    """Brings the domain stacks of one state directory up."""

    def __init__(self, state: StateDirectory, *, jobs: JobFactory, observer: Observer) -> None:
        """Work below `state`; `jobs` renders the steps of a release."""
        self._state = state
        self._jobs = jobs
        self._observer = observer

    def open_domain(
        self, stack: DomainStack, config: dict[str, Any], *, retry: bool = False
    ) -> auto.Stack:
        """The engine's stack of a domain.

        Raises:
            ConfigError: Its environment is not up.
        """
        if not stack_exists(stack.environment, self._state):
            raise ConfigError(
                f"stack {stack.name}: the environment stack {stack.environment!r} does not exist: "
                f"run `pipeline up {stack.environment}` first"
            )
        program = partial(domain_program.run, stack, jobs=self._jobs, retry=retry)
        return open_stack(stack.name, program=program, config=config, state=self._state)

    def up_once(
        self, stack: DomainStack, config: dict[str, Any], *, retry: bool = False
    ) -> Release:
        """One `up`: read the registry, declare what is next."""
        return self._up(self.open_domain(stack, config, retry=retry))

    def _up(self, engine_stack: auto.Stack, *, refresh: bool = True) -> Release:
        observe = partial(self._observer.engine, engine_stack.name)
        operation = partial(engine_stack.up, refresh=refresh, on_event=observe)
        release = _release(when_free(operation, engine_stack.name, self._state))
        self._observer.released(release)
        return release

    def up(self, stack: DomainStack, config: dict[str, Any], *, retry: bool = False) -> Release:
        """Repeat `up` until the state machine rests.

        Raises:
            ReleaseError: A job failed without a record, or was lost `MAX_LOSSES` times.
        """
        losses: Counter[str] = Counter()
        engine_stack = self.open_domain(stack, config, retry=retry)
        release = self._up(engine_stack)
        if retry:
            # One more attempt is meant, not one more after each of its failures.
            engine_stack = self.open_domain(stack, config)
        contract = read_contract(stack.environment, self._state)
        while release.pending and not release.resting:
            ended = self._wait(contract, release)
            losses.update(ended.lost)
            gone = [run for run, count in losses.items() if count >= MAX_LOSSES]
            if gone:
                raise ReleaseError(f"{gone[0]} was lost {MAX_LOSSES} times without a result")
            # What ended well is in the registry; only what did not needs another look.
            release = self._up(engine_stack, refresh=bool(ended.lost or ended.failed))
        return release

    def _wait(self, contract: EnvironmentContract, release: Release) -> "_Ended":
        """Wait until a pending run has ended."""
        store = open_store(contract.registry_uri)
        if contract.local is None:
            raise ConfigError(
                f"environment {contract.environment!r} is on a cluster: its jobs take their time "
                "there; run `pipeline up` again when they have ended, or `pulumi up`"
            )
        workloads = Workloads(Path(contract.local.home))
        while True:
            ended = self._poll(store, workloads, release)
            if any((ended.done, ended.failed, ended.lost)):
                return ended
            time.sleep(_POLL_S)

    def _poll(self, store: ObjectStore, workloads: Workloads, release: Release) -> "_Ended":
        domain = release.domain
        statuses = {run: read_status(store, domain, run) for run in release.pending}
        self._observer.progress(domain, [s for s in statuses.values() if s is not None])
        ended = _Ended()
        for run_id, status in statuses.items():
            state = workloads.job_state(f"{domain}-{run_id}")
            if read_result(store, domain, run_id) is not None:
                ended.done.append(run_id)
            elif state == "running":
                continue
            elif status is not None and status.state == "failed":
                ended.failed.append(run_id)
            elif state.startswith("failed"):
                log = workloads.log_tail(f"{domain}-{run_id}")
                raise ReleaseError(f"job {run_id} of {domain} {state}:\n{log}")
            elif read_result(store, domain, run_id) is None:
                ended.lost.append(run_id)
        return ended


def read_contract(environment: str, state: StateDirectory) -> EnvironmentContract:
    """What an environment stack exports.

    Raises:
        ConfigError: It is not up.
    """
    outputs = read_outputs(environment, state)
    return parse_contract(outputs.get(OUTPUT), environment)


def read_outputs(stack: str, state: StateDirectory) -> dict[str, Any]:
    """The outputs of a stack, secrets in the clear; empty when there is no such stack."""
    if not stack_exists(stack, state):
        return {}
    engine_stack = open_stack(stack, program=_no_program, config=None, state=state)
    return {name: output.value for name, output in engine_stack.outputs().items()}


def _no_program() -> None:
    """Reading outputs needs no program."""


def _release(result: auto.UpResult) -> Release:
    summary: dict[str, Any] = result.outputs["release"].value
    changes = result.summary.resource_changes or {}
    return Release(
        domain=summary["domain"],
        version=summary["version"],
        state=summary["state"],
        resting=summary["resting"],
        message=summary["message"],
        pending=tuple(summary["pending"]),
        changes=sum(count for kind, count in changes.items() if kind != "same"),
    )
