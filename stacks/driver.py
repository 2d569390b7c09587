"""Run a stack on the engine, and a domain stack until its release rests.

Pulumi is the release controller: each `up` reads the registry and declares what is next. The
driver only repeats `up` when a declared job has ended.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pulumi import automation as auto

from registry.runs import RunStatus, read_result, read_status
from registry.store import ObjectStore, open_store
from stacks.config.load import ConfigError, DomainStack
from stacks.contract import OUTPUT, parse_contract
from stacks.engine import open_stack, stack_exists
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
    version: str
    state: str
    resting: bool
    message: str
    pending: tuple[str, ...]
    changes: int
    """Resources that this `up` created, updated or deleted."""


class Observer(Protocol):
    """Told about everything that takes time."""

    def engine(self, stack: str, event: auto.EngineEvent) -> None:
        """The engine did something."""

    def released(self, release: Release) -> None:
        """An `up` ended here."""

    def progress(self, domain: str, statuses: Iterable[RunStatus]) -> None:
        """Where the pending runs are; called a few times a second."""


class Driver:
    """Ups, previews and destroys the stacks of one state directory."""

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
        engine_stack = self.open_domain(stack, config, retry=retry)
        result = engine_stack.up(refresh=True, on_event=partial(self._observer.engine, stack.name))
        release = _release(result)
        self._observer.released(release)
        return release

    def up(self, stack: DomainStack, config: dict[str, Any], *, retry: bool = False) -> Release:
        """Repeat `up` until the state machine rests.

        Raises:
            ReleaseError: A job failed without a record, or was lost `MAX_LOSSES` times.
        """
        losses: dict[str, int] = {}
        while True:
            release = self.up_once(stack, config, retry=retry)
            if release.resting or not release.pending:
                return release
            retry = False
            for run_id in self._wait(stack, release):
                losses[run_id] = losses.get(run_id, 0) + 1
                if losses[run_id] >= MAX_LOSSES:
                    raise ReleaseError(f"{run_id} was lost {MAX_LOSSES} times without a result")

    def _wait(self, stack: DomainStack, release: Release) -> list[str]:
        """Wait until a pending run has ended; return the runs that were lost."""
        contract = parse_contract(
            _outputs(stack.environment, self._state)[OUTPUT], stack.environment
        )
        store = open_store(contract.registry_uri)
        workloads = Workloads(Path(contract.home))
        while True:
            ended, lost = self._poll(store, workloads, release)
            if ended or lost:
                return lost
            time.sleep(_POLL_S)

    def _poll(
        self, store: ObjectStore, workloads: Workloads, release: Release
    ) -> tuple[bool, list[str]]:
        domain = release.domain
        statuses = {run: read_status(store, domain, run) for run in release.pending}
        self._observer.progress(domain, [s for s in statuses.values() if s is not None])
        ended, lost = False, []
        for run_id, status in statuses.items():
            state = workloads.job_state(f"{domain}-{run_id}")
            if read_result(store, domain, run_id) is not None:
                ended = True
            elif status is not None and status.state == "failed":
                ended = ended or state != "running"
            elif state.startswith("failed"):
                log = workloads.log_tail(f"{domain}-{run_id}")
                raise ReleaseError(f"job {run_id} of {domain} {state}:\n{log}")
            elif state in {"lost", "succeeded"}:
                lost.append(run_id)
        return ended, lost


def _outputs(environment: str, state: StateDirectory) -> dict[str, Any]:
    stack = open_stack(environment, program=_no_program, config=None, state=state)
    return {name: output.value for name, output in stack.outputs().items()}


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
