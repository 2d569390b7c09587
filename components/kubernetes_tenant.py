"""One domain of one customer on Kubernetes: its key, its tenancy record and its HTTPRoute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import core, meta

from components.manifests import custom_object
from components.pods import labels_of
from serving.cluster_watch.config import TENANCY_KEY, TENANCY_LABEL, tenancy_name
from substrates.local.resources import DomainKey

KEY_FIELD = "key"
"""Field of the Secret that holds the current key."""


@dataclass(frozen=True, kw_only=True)
class KubernetesTenantArgs:
    """Who the tenant is and how its requests arrive."""

    provider: kubernetes.Provider
    namespace: str
    """Of the router: cluster-watch finds the record there."""
    key_namespace: str
    """Where the Secret lies from which the key is handed to the customer. No pod mounts it."""
    domain: str
    record_of: Callable[[Sequence[str]], str]
    """Renders the tenancy record, as the router reads it, from the hashes of the valid keys."""
    key_serials: Sequence[int]
    """Serials of the keys that are valid; the last one is the current key."""
    http_route: Mapping[str, Any] | None
    """The HTTPRoute object; None where there is no Gateway."""
    policies: Sequence[Mapping[str, Any]] = ()
    """Objects of the gateway that attach to the route, such as its TrafficPolicy."""


class KubernetesTenant(pulumi.ComponentResource):
    """Key, Secret, tenancy record and route of a domain. Nothing of the environment changes."""

    key: pulumi.Output[str]
    """The current key, a secret."""
    secret: core.v1.Secret
    record: core.v1.ConfigMap

    def __init__(
        self, name: str, args: KubernetesTenantArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: The domain.
            args: The tenant.
            opts: Options of the component.
        """
        super().__init__("pipeline:edge:KubernetesTenant", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        keys = [
            DomainKey(
                f"{name}-key-{serial}",
                domain=args.domain,
                serial=serial,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for serial in args.key_serials
        ]
        self.key = keys[-1].key
        self.secret = core.v1.Secret(
            f"{name}-key",
            metadata=_metadata(f"domain-key-{args.domain}", args.key_namespace),
            string_data={KEY_FIELD: self.key},
            opts=child,
        )
        self.record = core.v1.ConfigMap(
            f"{name}-tenancy",
            metadata=_metadata(tenancy_name(args.domain), args.namespace, {TENANCY_LABEL: "true"}),
            data={
                TENANCY_KEY: pulumi.Output.all(*[key.key_hash for key in keys]).apply(
                    args.record_of
                )
            },
            opts=child,
        )
        if args.http_route is not None:
            _route(name, args.http_route, args.policies, child)
        self.register_outputs({"key": self.key})


def _route(
    name: str,
    manifest: Mapping[str, Any],
    policies: Sequence[Mapping[str, Any]],
    opts: pulumi.ResourceOptions,
) -> None:
    route = _object(f"{name}-route", manifest, opts)
    attached = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[route]))
    for policy in policies:
        _object(f"{name}-{policy['kind'].lower()}", policy, attached)


def _object(
    name: str, manifest: Mapping[str, Any], opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    return custom_object(name, manifest, manifest["metadata"]["name"], opts)


def _metadata(
    name: str, namespace: str, labels: Mapping[str, str] | None = None
) -> meta.v1.ObjectMetaArgs:
    return meta.v1.ObjectMetaArgs(
        name=name, namespace=namespace, labels={**labels_of(name), **(labels or {})}
    )
