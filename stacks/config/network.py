"""The network of a cluster in AWS, and the arithmetic of its addresses."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from stacks.config.base import Config

ZONES: Final = 3
_PRIVATE_RANGES: Final = tuple(
    IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
# The bridge of the container runtime on the nodes.
_RUNTIME_BRIDGE: Final = IPv4Network("172.17.0.0/16")
_ADDRESSES_OF_A_NODE: Final = 111
"""Its own, and those of the 110 pods that Kubernetes supports on a node."""
_OTHER_ADDRESSES: Final = 64
"""In each zone: control plane, interface endpoints, load balancers, databases."""
_KEPT_BY_AWS: Final = 5
_LARGEST: Final = 16
_SMALLEST: Final = 24


def ipv4_network(cidr: str) -> IPv4Network:
    """The network of a text.

    Raises:
        ValueError: It is none.
    """
    try:
        return IPv4Network(cidr)
    except ValueError as error:
        raise ValueError(f"{cidr!r} is no IPv4 network: {error}") from error


def private_network(cidr: str) -> IPv4Network:
    """The network of a text, inside the private ranges.

    Raises:
        ValueError: It is none, or public.
    """
    network = ipv4_network(cidr)
    if not any(network.subnet_of(each) for each in _PRIVATE_RANGES):
        ranges = ", ".join(map(str, _PRIVATE_RANGES))
        raise ValueError(f"{cidr} is not private: use a network inside {ranges}")
    return network


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """The parts of a VPC's network, in the order of the zones."""

    private: tuple[str, ...]
    """Of nodes, pods, databases and endpoints: a quarter of the VPC each."""
    public: tuple[str, ...]
    """Of NAT gateways and load balancers: a sixteenth each. The last sixteenth is free."""


class Network(Config):
    """The VPC."""

    cidr: str = Field(description="IPv4 network of the VPC, /16 to /24, such as 10.20.0.0/16")
    nat: Literal["single", "per-zone"] = Field(
        description="NAT gateways: one for all zones, or one each so that a zone can fail alone"
    )
    service_cidr: str = Field(
        "172.20.0.0/16", description="addresses of Kubernetes Services, /12 to /24, in no VPC"
    )
    api_clients: tuple[str, ...] = Field(
        (), description="networks (VPN, runners of CI) that reach the private API endpoint"
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        vpc, services = private_network(self.cidr), private_network(self.service_cidr)
        if not _LARGEST <= vpc.prefixlen <= _SMALLEST:
            raise ValueError(f"cidr {vpc}: a VPC here is /16 to /24")
        if not 12 <= services.prefixlen <= 24:
            raise ValueError(f"service_cidr {services}: EKS allows /12 to /24")
        taken = {"service_cidr": services, "the container runtime of the nodes": _RUNTIME_BRIDGE}
        for client in map(private_network, self.api_clients):
            if not client.subnet_of(vpc):
                taken[f"api_clients {client}"] = client
        for place, network in taken.items():
            if vpc.overlaps(network):
                raise ValueError(f"cidr {vpc} overlaps {place} ({network}): choose another network")
        for client in map(ipv4_network, self.api_clients):
            if client.overlaps(services):
                raise ValueError(f"api_clients {client} overlaps service_cidr ({services})")
        return self

    @property
    def subnets(self) -> Subnets:
        """Three private subnets of a quarter each; the rest in four, three of them public."""
        *private, rest = ipv4_network(self.cidr).subnets(prefixlen_diff=2)
        public = list(rest.subnets(prefixlen_diff=2))[:ZONES]
        return Subnets(private=tuple(map(str, private)), public=tuple(map(str, public)))

    def require_room(self, nodes: int) -> None:
        """Check that a zone has an address for every node and pod, should the others fail.

        Args:
            nodes: Nodes of the cluster at most.

        Raises:
            ValueError: It has not; names the VPC size that has.
        """
        needed = nodes * _ADDRESSES_OF_A_NODE + _OTHER_ADDRESSES
        private = ipv4_network(self.subnets.private[0])
        held = private.num_addresses - _KEPT_BY_AWS
        if held >= needed:
            return
        prefix = 32 - (needed + _KEPT_BY_AWS - 1).bit_length() - 2
        fix = f"use /{prefix} or larger" if prefix >= _LARGEST else "lower max of the node groups"
        raise ValueError(
            f"network.cidr {self.cidr}: each zone gets {private} with {held:,} addresses, but "
            f"{nodes} nodes x {_ADDRESSES_OF_A_NODE} + {_OTHER_ADDRESSES} = {needed:,} may be "
            f"needed in one: {fix}"
        )
