"""Secrets of AWS Secrets Manager as Secrets of the cluster, by the External Secrets operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import meta

from components.pods import labels_of

_API = "external-secrets.io/v1"
_NAME = "pipeline-secrets"
_WAIT_S = 300


@dataclass(frozen=True, kw_only=True)
class RemoteSecret:
    """A Secret of the cluster, and where its values come from."""

    namespace: str
    secret: str
    """Name of the Secret."""
    remote: pulumi.Input[str]
    """Name or ARN in Secrets Manager; its value is a JSON object."""
    properties: Sequence[str]
    """Keys of that object: those of the Secret as well, unless there is a template."""
    template: Mapping[str, pulumi.Input[str]] | None = None
    """Keys of the Secret and how their values are written, with `{{ .property }}`."""


@dataclass(frozen=True, kw_only=True)
class ExternalSecretsArgs:
    """What is read, and how often."""

    provider: kubernetes.Provider
    store: str
    """Name of the ClusterSecretStore."""
    region: str
    refresh_minutes: int
    secrets: Sequence[RemoteSecret]


class ExternalSecrets(pulumi.ComponentResource):
    """A store that only the named namespaces may use, and an ExternalSecret for each Secret.

    The operator reads with the role that Pod Identity gives to its own pods. An `up` waits until
    every Secret is there: a key that the remote secret lacks ends it with the operator's message.
    """

    ready: dict[tuple[str, str], pulumi.Resource]
    """By namespace and name of the Secret: what must stand before its first reader."""

    def __init__(
        self, name: str, args: ExternalSecretsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The secrets.
            opts: Options of the component; namespaces and operator belong into `depends_on`.
        """
        super().__init__("pipeline:kubernetes:ExternalSecrets", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        store = kubernetes.apiextensions.CustomResource(
            name,
            api_version=_API,
            kind="ClusterSecretStore",
            metadata=meta.v1.ObjectMetaArgs(name=args.store, labels=labels_of(_NAME)),
            spec={
                "provider": {"aws": {"service": "SecretsManager", "region": args.region}},
                "conditions": [{"namespaces": sorted({each.namespace for each in args.secrets})}],
            },
            opts=child,
        )
        after = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[store]))
        self.ready = {
            (each.namespace, each.secret): _external_secret(name, args, each, after)
            for each in args.secrets
        }
        self.register_outputs({"store": args.store})


def _external_secret(
    name: str, args: ExternalSecretsArgs, secret: RemoteSecret, opts: pulumi.ResourceOptions
) -> kubernetes.apiextensions.CustomResource:
    return kubernetes.apiextensions.CustomResource(
        f"{name}-{secret.namespace}-{secret.secret}",
        api_version=_API,
        kind="ExternalSecret",
        metadata=meta.v1.ObjectMetaArgs(
            name=secret.secret,
            namespace=secret.namespace,
            labels=labels_of(_NAME),
            annotations={
                "pulumi.com/waitFor": "condition=Ready",
                "pulumi.com/timeoutSeconds": str(_WAIT_S),
            },
        ),
        spec={
            "refreshInterval": f"{args.refresh_minutes}m",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": args.store},
            "target": {"name": secret.secret, "creationPolicy": "Owner", **_template(secret)},
            "data": [
                {"secretKey": key, "remoteRef": {"key": secret.remote, "property": key}}
                for key in secret.properties
            ],
        },
        opts=opts,
    )


def _template(secret: RemoteSecret) -> dict[str, object]:
    if secret.template is None:
        return {}
    return {"template": {"engineVersion": "v2", "data": dict(secret.template)}}
