"""The shipped stacks, with what their users fill in."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from stacks import job_specs
from stacks.config.aws import EksCluster
from stacks.config.load import ClusterStack, DomainStack, parse
from stacks.programs import domain
from stacks.programs.cluster import charts, environment
from tests.engine.aws.account import Account
from tests.engine.aws.world import World, new_world
from tests.stacks.environments import SECRETS, cluster_stack, raw

DOMAINS = ("bank-ledger", "stock-order", "insurance-contract")

Change = Callable[[dict[str, Any]], None]
"""Edits `pipeline:environment` of a stack file."""


def read_environment(name: str, change: Change | None = None) -> ClusterStack:
    """A shipped environment in AWS, as it is or changed."""
    config = raw(name)
    if change is not None:
        change(config["pipeline:environment"])
    return cluster_stack(config)


def read_domain(name: str, environment: str = "prod", **changes: Any) -> DomainStack:
    """A shipped domain; changes replace keys of it."""
    config = raw(f"{environment}-{name}")
    return _domain_stack({**config, "pipeline:domain": {**config["pipeline:domain"], **changes}})


def domain_like(name: str, other: str, environment: str = "prod") -> DomainStack:
    """Another domain with everything that a shipped one has, below its own names."""
    text = json.dumps(raw(f"{environment}-{name}")).replace(name, other)
    config: dict[str, Any] = json.loads(text)
    config["pipeline:domain"]["header_aliases"] = []
    return _domain_stack(config)


def _domain_stack(config: Mapping[str, Any]) -> DomainStack:
    stack = f"{config['pipeline:environment']}-{config['pipeline:domain']['name']}"
    found = parse(config, stack, stack)
    assert isinstance(found, DomainStack)
    return found


def environment_program(stack: ClusterStack) -> Callable[[], None]:
    """The program of an environment."""
    return partial(environment.run, stack)


def domain_program(stack: DomainStack) -> Callable[[], Any]:
    """The program of a domain."""
    return partial(domain.run, stack, jobs=job_specs.jobs)


@contextlib.contextmanager
def account_of(stack: ClusterStack, directory: Path, *, checkpoints: bool) -> Iterator[World]:
    """The account of an environment, with the secrets that its users put there.

    The lock of charts has no digests before somebody fetches the charts, and production refuses
    that: here the charts need none, because nothing is rendered.
    """
    cluster = stack.environment.cluster
    assert isinstance(cluster, EksCluster)
    world = new_world(
        directory, number=cluster.account, region=cluster.region, checkpoints=checkpoints
    )
    with world as made, mock.patch.object(charts, "require_digests"):
        _put_secrets(made.account, stack)
        with mock.patch.dict(os.environ, _reaching(made.account)):
            yield made


def _put_secrets(account: Account, stack: ClusterStack) -> None:
    services = stack.environment.services.model_dump()
    prefix = services["secrets"]["prefix"]
    for name in _secrets_in(services):
        account.client("secretsmanager").create_secret(
            Name=f"{prefix}/{name}", SecretString=json.dumps(SECRETS)
        )


def _secrets_in(config: Mapping[str, Any]) -> list[str]:
    """Every value of a key `secret`."""
    nested = [
        each for value in config.values() if isinstance(value, dict) for each in _secrets_in(value)
    ]
    return [*([config["secret"]] if "secret" in config else []), *nested]


def _reaching(account: Account) -> dict[str, str]:
    """What makes boto3 in programs reach the account: they read the registry themselves."""
    return {
        "AWS_ENDPOINT_URL": account.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": account.region,
    }
