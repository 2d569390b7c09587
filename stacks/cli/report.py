"""What runs where, what was trained, how it scored, and what to do next."""

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from registry.approvals import read_decisions
from registry.errors import NotFoundError
from registry.evaluation import Evaluation, read_evaluation
from registry.manifest import Manifest, read_manifest
from registry.names import Version, served_name
from registry.pointer import Pointer, read_pointer
from registry.runs import read_result
from registry.store import ObjectStore, open_store
from stacks.cli.project import Project
from stacks.config.domain import DomainConfig
from stacks.config.load import DomainStack, EnvironmentStack
from stacks.contract import EnvironmentContract
from substrates.local.supervisor import Supervisor
from training_jobs.errors import JobInputError
from training_jobs.pairs import read_pairs

_PURPOSE = {
    "vllm": "model server of every pool",
    "mlflow": "runs and traces",
    "adapter-sync": "adapters on the model server",
    "router": "keys, releases, metering",
    "shipper": "the ledger to the warehouse",
    "sampler": "counters for reconciliation",
    "edge": "routes for Envoy",
    "envoy": "the address for clients",
}


def print_report(console: Console, project: Project, stack: EnvironmentStack) -> None:
    """Services, releases and next commands of an environment."""
    contract = project.contract(stack.name)
    store = open_store(contract.registry_uri)
    console.print(services_table(project, stack))
    domains = project.domains(stack.name)
    console.print(releases_table(store, domains))
    for line in notes(store, domains):
        console.print(line, highlight=False, markup=False)
    console.print("\n[bold]Try next[/]")
    for step in _next_steps(project, domains, contract):
        # Whole, so that it can be copied.
        console.print(f"  {step}", highlight=False, markup=False, soft_wrap=True)


def services_table(project: Project, stack: EnvironmentStack) -> Table:
    """One row for each supervised service."""
    table = _table(f"What runs ({stack.name})")
    for column in ("service", "state", "address", "since (UTC)", "what for"):
        table.add_column(column)
    addresses = _addresses(stack)
    for program in Supervisor(project.state.home(stack.name)).programs():
        name = program["name"]
        if name not in _PURPOSE:
            continue
        since = datetime.fromtimestamp(program["start"], UTC).strftime("%H:%M:%S")
        state = str(program["statename"]).lower()
        colour = "green" if state == "running" else "red"
        table.add_row(
            name, f"[{colour}]{state}[/]", addresses.get(name, "-"), since, _PURPOSE[name]
        )
    return table


def releases_table(store: ObjectStore, domains: Iterable[DomainStack]) -> Table:
    """One row for each domain."""
    table = _table("Releases, and their shares of right answers on held-out rows")
    table.add_column("live release", no_wrap=True)
    for column in ("trained", "loss", "adapter", "base", "copy"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("approved by", overflow="fold")
    for stack in domains:
        pointer = read_pointer(store, stack.domain.name)
        if stack.domain.trained is None:
            table.add_row(f"{stack.domain.name}: base models", *["-"] * 6)
            continue
        if pointer.live is None:
            table.add_row(f"{stack.domain.name}: none", *["-"] * 6)
            continue
        table.add_row(*_release_row(store, stack.domain.name, pointer, pointer.live))
    return table


def notes(store: ObjectStore, domains: Iterable[DomainStack]) -> list[str]:
    """What the table leaves out: holds, demonstration approvals, switched-off checks."""
    lines: list[str] = []
    off: dict[str, list[str]] = {}
    demo: list[str] = []
    for domain in filter(None, (stack.domain.trained for stack in domains)):
        hold = read_pointer(store, domain.name).hold
        if hold is not None:
            lines.append(f"{domain.name} is held by {hold.by}: {hold.reason}")
        if domain.gate.experts.demo:
            demo.append(domain.name)
        for check, why in domain.gate.not_applicable.items():
            off.setdefault(f"{check}: {why}", []).append(domain.name)
    if demo:
        lines.append(f"Reviewers named demo-… are a demonstration: nobody looked ({_names(demo)}).")
    lines += [f"Check switched off in {_names(where)}: {check}" for check, where in off.items()]
    return lines


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _release_row(
    store: ObjectStore, domain: str, pointer: Pointer, version: Version
) -> tuple[str, ...]:
    manifest = read_manifest(store, domain, version)
    metrics = _training(store, domain, manifest)
    scores = _scores(store, domain, version)
    approved = {
        decision.reviewer
        for decision in read_decisions(store, domain, version)
        if decision.verdict == "approve"
    }
    held = " (held)" if pointer.hold else ""
    return (
        f"{served_name(domain, version)}{held}",
        _shown(metrics.get("seconds"), "{:.0f} s"),
        _shown(metrics.get("loss"), "{:.3f}"),
        *(_shown(scores.get(name), "{:.2f}") for name in ("adapter", "base", "copy_baseline")),
        "\n".join(sorted(approved)) or "-",
    )


def _training(store: ObjectStore, domain: str, manifest: Manifest) -> dict[str, Any]:
    adapter = manifest.adapter("slm") or manifest.adapter("llm")
    result = read_result(store, domain, adapter.run_id) if adapter else None
    return dict(result.result.get("metrics", {})) if result else {}


def _scores(store: ObjectStore, domain: str, version: Version) -> dict[str, Any]:
    try:
        evaluation: Evaluation = read_evaluation(store, domain, version)
    except NotFoundError:
        return {}
    details = (check.detail for check in evaluation.checks if check.name == "domain_test")
    return next(details, {})


def _shown(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "-"


def _addresses(stack: EnvironmentStack) -> dict[str, str]:
    ports = stack.environment.ports
    return {
        "vllm": f"127.0.0.1:{ports.vllm}",
        "mlflow": f"127.0.0.1:{ports.mlflow}",
        "adapter-sync": f"127.0.0.1:{ports.adapter_sync}",
        "router": f"127.0.0.1:{ports.router}",
        "envoy": f"127.0.0.1:{ports.edge}",
    }


def _next_steps(
    project: Project, domains: list[DomainStack], contract: EnvironmentContract
) -> list[str]:
    return [
        *(ask for stack in domains if (ask := _ask(project, stack.domain))),
        ".venv/bin/pipeline status",
        f".venv/bin/pipeline bill --month {datetime.now(UTC):%Y-%m}",
        f"MLflow, runs and traces: {contract.mlflow_url}",
        "make down",
    ]


def _ask(project: Project, domain: DomainConfig) -> str | None:
    """How to ask the domain; None where it is trained and no held-out row is on this machine."""
    command = f".venv/bin/pipeline ask --domain {domain.name}"
    trained = domain.trained
    if trained is None:
        return f"{command} {shlex.quote('What is a ledger?')}"
    try:
        # An input that the adapter was not trained on.
        question = read_pairs(project.state.path / trained.dataset.heldout_uri)[0].input
    except JobInputError:
        return None
    return f"{command} --max-tokens {trained.gate.domain_test.max_tokens} {shlex.quote(question)}"
