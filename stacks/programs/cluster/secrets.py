"""Secrets of an environment on Kubernetes: that they exist, at preview, and how pods get them.

What can be known at preview differs. On EKS the name of a secret is looked up in Secrets Manager
(`DescribeSecret`), which shows no value, so that whoever previews may not read any; a key that its
value lacks is found when External Secrets reads it, and ends the `up`. On a cluster that exists the
Secret itself is read, and its keys are compared.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi_kubernetes import core

from components.external_secrets import ExternalSecrets, ExternalSecretsArgs, RemoteSecret
from stacks.config.load import ConfigError
from stacks.config.services import Secrets, SecretsManager
from stacks.programs.cluster.context import Aws, Cluster
from stacks.programs.cluster.stores import account_of


@dataclass(frozen=True, kw_only=True)
class SecretNeed:
    """A Secret that pods of a namespace read."""

    key: str
    """Key of the configuration that names it."""
    namespace: str
    secret: str
    properties: tuple[str, ...]
    """Keys that it must have."""


Ready = Mapping[tuple[str, str], pulumi.Resource]
"""By namespace and name of the Secret: what must stand before its first reader."""


def declare_secrets(
    config: Secrets,
    cluster: Cluster,
    needs: Sequence[SecretNeed],
    *,
    made: Sequence[RemoteSecret],
    after: Sequence[pulumi.Resource],
) -> Ready:
    """Declare how Secrets come into the cluster, or check those that are there.

    Args:
        config: Where they come from.
        cluster: Where they are needed.
        needs: Those that somebody put there.
        made: Those whose values AWS made.
        after: What must stand first: the namespaces, and the operator.

    Raises:
        ConfigError: Secrets Manager has no secret of a needed name, or there is no such manager.
    """
    if not isinstance(config, SecretsManager):
        return {(need.namespace, need.secret): _existing(need, cluster) for need in needs}
    account = account_of(cluster)
    for key, name in {need.key: remote_name(config, need.secret) for need in needs}.items():
        properties = {p for need in needs if need.key == key for p in need.properties}
        refuse_missing(account, key, name, sorted(properties))
    declared = ExternalSecrets(
        f"{cluster.environment}-secrets",
        ExternalSecretsArgs(
            provider=cluster.kubernetes,
            store=f"pipeline-{cluster.environment}",
            region=account.region,
            refresh_minutes=config.refresh_minutes,
            secrets=[*(_remote(config, need) for need in needs), *made],
        ),
        pulumi.ResourceOptions(depends_on=list(after)),
    )
    return declared.ready


def remote_name(config: SecretsManager, secret: str) -> str:
    """Name of a secret in Secrets Manager."""
    return f"{config.prefix}/{secret}"


def refuse_missing(account: Aws, key: str, name: str, properties: Sequence[str]) -> None:
    """Check that a secret of this name exists, without reading it.

    Raises:
        ConfigError: It does not, or the caller may not describe it.
    """
    try:
        aws.secretsmanager.get_secret(
            name=name, opts=pulumi.InvokeOptions(provider=account.provider)
        )
    except Exception as error:  # the engine's errors have no class of their own
        example = ", ".join(f'"{each}": "…"' for each in properties)
        raise ConfigError(
            f"{key}: Secrets Manager in {account.region} has no secret {name!r} that may be "
            f"described ({_first_line(error)}): create it with `aws secretsmanager create-secret "
            f"--name {name} --secret-string '{{{example}}}'`"
        ) from error


def _remote(config: SecretsManager, need: SecretNeed) -> RemoteSecret:
    return RemoteSecret(
        namespace=need.namespace,
        secret=need.secret,
        remote=remote_name(config, need.secret),
        properties=need.properties,
    )


def _existing(need: SecretNeed, cluster: Cluster) -> core.v1.Secret:
    found = core.v1.Secret.get(
        # Where there is no such Secret the engine's error shows this name.
        f"{need.key}-{need.namespace}",
        f"{need.namespace}/{need.secret}",
        opts=pulumi.ResourceOptions(
            provider=cluster.kubernetes,
            # `kubectl apply` keeps a copy of the values in an annotation.
            additional_secret_outputs=["data", "stringData", "metadata"],
        ),
    )
    # An output that nothing uses is still awaited by the engine, at preview as well.
    found.data.apply(functools.partial(refuse_incomplete, need))
    return found


def refuse_incomplete(need: SecretNeed, data: Mapping[str, Any] | None) -> None:
    """Check the keys of a Secret.

    Raises:
        pulumi.RunError: One is missing.
    """
    missing = [each for each in need.properties if each not in (data or {})]
    if missing:
        raise pulumi.RunError(
            f"{need.key}: the Secret {need.secret!r} in namespace {need.namespace} has no key "
            f"{', '.join(missing)}: it needs {', '.join(need.properties)}"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
