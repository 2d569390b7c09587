"""`pipeline status`, `ask` and `logs`: look, and change nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from registry.names import PoolName
from registry.store import open_store
from stacks.cli import report
from stacks.cli.options import Environment
from stacks.cli.project import Project
from stacks.config.domain import DomainConfig
from stacks.config.load import ConfigError, DomainStack
from stacks.driver import read_outputs
from substrates.local.supervisor import Supervisor

_ANSWER_TIMEOUT_S = 120.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(ask)
    app.command()(logs)


def status(*, environment: Environment = "local") -> None:
    """What runs, which releases are live, and what waits for whom."""
    console, project = Console(), Project.default()
    stack = project.environment(environment)
    contract = project.contract(environment)
    console.print(report.services_table(project, stack))
    store, domains = open_store(contract.registry_uri), project.domains(environment)
    console.print(report.releases_table(store, domains))
    if len(contract.pools) > 1:
        console.print(
            "One vLLM server serves both pools here: slm and llm answer with the same small model.",
            highlight=False,
        )
    for line in report.notes(store, domains):
        console.print(line, highlight=False, markup=False)


def ask(
    text: Annotated[str, typer.Argument(help="the question")],
    *,
    domain: Annotated[str | None, typer.Option("--domain", help="default: the only one")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="pool, served name or base model name; default: its first pool"
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="longest answer, tokens")] = 96,
    environment: Environment = "local",
) -> None:
    """Ask a domain's live adapter or base model through the edge, with the domain's own key."""
    project = Project.default()
    stack = _domain(project, environment, domain)
    outputs = read_outputs(stack.name, project.state)
    if "key" not in outputs:
        raise ConfigError(f"{stack.name} is not up: `pipeline up {stack.name}`")
    body = {
        "model": model or _first_pool(stack.domain),
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    headers = {
        "Authorization": f"Bearer {outputs['key']}",
        "X-Customer-Domain": stack.domain.name,
    }
    url = f"{outputs['edge_url']}/chat/completions"
    try:
        for part in _stream(url, body, headers):
            sys.stdout.write(part)
            sys.stdout.flush()
    except httpx.TransportError as error:
        raise ConfigError(
            f"{url} does not answer ({error}): see `pipeline status -e {environment}`"
        ) from error
    sys.stdout.write("\n")


def logs(
    name: Annotated[str | None, typer.Argument(help="service or job; none lists them")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as it grows")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="lines from the end")] = 50,
    environment: Environment = "local",
) -> None:
    """Show the log of a service or job."""
    home = Project.default().state.home(environment)
    known = sorted(path.stem for path in (home / "logs").glob("*.log"))
    if name is None:
        typer.echo("\n".join(known) or f"nothing has run in {environment!r} yet")
        return
    if name not in known:
        raise ConfigError(f"no log of {name!r}; there are: {', '.join(known) or 'none'}")
    tail = ["tail", "-n", str(lines), *(["-f"] if follow else []), str(Supervisor(home).log(name))]
    subprocess.run(tail, check=True)


def _domain(project: Project, environment: str, name: str | None) -> DomainStack:
    domains = {stack.domain.name: stack for stack in project.domains(environment)}
    if name is None and len(domains) == 1:
        return next(iter(domains.values()))
    if name not in domains:
        raise ConfigError(
            f"--domain: {'none given' if name is None else repr(name)}; "
            f"{environment!r} has {', '.join(domains) or 'none'}"
        )
    return domains[name]


def _first_pool(domain: DomainConfig) -> PoolName:
    """The pool that a question goes to: where the adapter is, if there is one."""
    return next(iter(domain.adapters or domain.pools))


def _stream(url: str, body: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
    with httpx.stream("POST", url, json=body, headers=headers, timeout=_ANSWER_TIMEOUT_S) as answer:
        if answer.is_error:
            answer.read()
            raise ConfigError(f"{answer.status_code} from {url}: {_error_message(answer)}")
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if line.startswith("data: ") and data != "[DONE]":
                for choice in json.loads(data)["choices"]:
                    yield choice["delta"].get("content") or ""


def _error_message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return answer.text
