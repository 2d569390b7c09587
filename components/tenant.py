"""One domain of one customer at the edge: its key, its tenancy record and its HTTPRoute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import yaml

from substrates.local.resources import DomainKey
from substrates.substrate import Substrate
from substrates.workload import Document


@dataclass(frozen=True, kw_only=True)
class TenantArgs:
    """Who the tenant is and how its requests arrive."""

    substrate: Substrate
    domain: str
    record_of: Callable[[Sequence[str]], str]
    """Renders the tenancy record, as the router reads it, from the hashes of the valid keys."""
    key_serials: Sequence[int]
    """Serials of the keys that are valid; the last one is the current key."""
    http_route: Mapping[str, Any]
    """The HTTPRoute object, as Kubernetes gets it."""


class Tenant(pulumi.ComponentResource):
    """Key, tenancy record and route of a domain."""

    key: pulumi.Output[str]
    """The current key, a secret."""

    def __init__(
        self, name: str, args: TenantArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare the three.

        Args:
            name: The domain.
            args: The tenant.
            opts: Options of the component.
        """
        super().__init__("pipeline:edge:Tenant", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        keys = [
            DomainKey(f"{name}-key-{serial}", domain=args.domain, serial=serial, opts=child)
            for serial in args.key_serials
        ]
        record = pulumi.Output.all(*[key.key_hash for key in keys]).apply(args.record_of)
        args.substrate.document(
            Document(name=f"{name}-tenancy", path=f"domains/{args.domain}.json", content=record),
            child,
        )
        args.substrate.document(
            Document(
                name=f"{name}-route",
                path=f"routes/{args.domain}.yaml",
                content=yaml.safe_dump(dict(args.http_route), sort_keys=False),
            ),
            child,
        )
        self.key = keys[-1].key
        self.register_outputs({"key": self.key})
