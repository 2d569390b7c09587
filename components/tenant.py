"""One domain of one customer at the edge: its key, its tenancy record and its HTTPRoute."""

import json
from collections.abc import Mapping, Sequence
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
    customer: str
    header_aliases: Sequence[str]
    pools: Sequence[str]
    routing: Mapping[str, str]
    content_capture: str
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
        record = pulumi.Output.all(*[key.key_hash for key in keys]).apply(
            lambda hashes: _record(args, hashes)
        )
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


def _record(args: TenantArgs, key_hashes: Sequence[str]) -> str:
    record = {
        "schema": 1,
        "domain": args.domain,
        "customer": args.customer,
        "header_aliases": list(args.header_aliases),
        "key_hashes": list(key_hashes),
        "pools": list(args.pools),
        "routing": dict(args.routing),
        "content_capture": args.content_capture,
    }
    return json.dumps(record, indent=2) + "\n"
