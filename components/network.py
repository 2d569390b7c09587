"""The VPC of an environment: subnets, ways out, and private addresses of AWS services."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

_S3: Final = "s3"
_SERVICES: Final = (
    _S3,
    "ecr.api",
    "ecr.dkr",
    "sts",
    "logs",
    "ec2",
    "eks-auth",
    "kms",
    "secretsmanager",
)
"""What nodes and pods call. S3 too: policies name networks, and the addresses behind a gateway
endpoint are public."""
_KEEPING: Final = (_S3, "logs", "secretsmanager")
"""Those that keep what they are given, in the account of whoever gives it."""


@dataclass(frozen=True, kw_only=True)
class ZoneSubnets:
    """The two subnets of one zone, in CIDR form."""

    private: str
    public: str


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Where the VPC is and how it is divided."""

    provider: aws.Provider
    prefix: str
    """Of the names of everything."""
    region: str
    account: str
    """Twelve digits: nobody else's credentials write through the endpoints."""
    cluster: str
    """Name of the EKS cluster whose load balancers find the subnets."""
    cidr: str
    zones: Mapping[str, ZoneSubnets]
    nat_per_zone: bool
    """One NAT gateway in each zone; else one, in the first."""
    tags: Mapping[str, str]


class Network(pulumi.ComponentResource):
    """VPC with a private and a public subnet in each zone, NAT and interface endpoints."""

    vpc_id: pulumi.Output[str]
    private_subnets: Mapping[str, pulumi.Output[str]]
    """Id by zone."""
    public_subnets: Mapping[str, pulumi.Output[str]]
    """Id by zone."""
    ways_out: tuple[pulumi.Resource, ...]
    """Routes and endpoints: a node that starts before them cannot join."""

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The network.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:Network", name, {}, opts)
        self._args = args
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            # Private names of the interface endpoints need both.
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=self._tags("vpc"),
            opts=self._child,
        )
        self.vpc_id = vpc.id
        self.public_subnets = {
            zone: self._subnet(zone, subnets.public, "public", "kubernetes.io/role/elb")
            for zone, subnets in args.zones.items()
        }
        self.private_subnets = {
            zone: self._subnet(zone, subnets.private, "private", "kubernetes.io/role/internal-elb")
            for zone, subnets in args.zones.items()
        }
        gateways = self._nat(self._public_route())
        routes = [self._private_route(zone, gateways) for zone in args.zones]
        self.ways_out = (*routes, *self._endpoints())
        self.register_outputs(
            {"vpc_id": self.vpc_id, "private_subnets": dict(self.private_subnets)}
        )

    def _tags(self, what: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._args.prefix}-{what}"}

    def _subnet(self, zone: str, cidr: str, kind: str, role: str) -> pulumi.Output[str]:
        subnet = aws.ec2.Subnet(
            f"{self._name}-{kind}-{zone}",
            vpc_id=self.vpc_id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,
            tags={
                **self._tags(f"{kind}-{zone}"),
                role: "1",
                f"kubernetes.io/cluster/{self._args.cluster}": "shared",
            },
            opts=self._child,
        )
        return subnet.id

    def _public_route(self) -> aws.ec2.Route:
        gateway = aws.ec2.InternetGateway(
            self._name, vpc_id=self.vpc_id, tags=self._tags("internet"), opts=self._child
        )
        table = aws.ec2.RouteTable(
            f"{self._name}-public",
            vpc_id=self.vpc_id,
            tags=self._tags("public"),
            opts=self._child,
        )
        for zone, subnet in self.public_subnets.items():
            self._associate(f"public-{zone}", subnet, table)
        return aws.ec2.Route(
            f"{self._name}-public",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            opts=self._child,
        )

    def _nat(self, internet: aws.ec2.Route) -> dict[str, aws.ec2.NatGateway]:
        zones = list(self._args.zones)
        gateways = {}
        for zone in zones if self._args.nat_per_zone else zones[:1]:
            address = aws.ec2.Eip(
                f"{self._name}-nat-{zone}",
                domain="vpc",
                tags=self._tags(f"nat-{zone}"),
                opts=self._child,
            )
            gateways[zone] = aws.ec2.NatGateway(
                f"{self._name}-{zone}",
                subnet_id=self.public_subnets[zone],
                allocation_id=address.allocation_id,
                tags=self._tags(f"nat-{zone}"),
                opts=pulumi.ResourceOptions.merge(
                    self._child, pulumi.ResourceOptions(depends_on=[internet])
                ),
            )
        return gateways

    def _private_route(
        self, zone: str, gateways: Mapping[str, aws.ec2.NatGateway]
    ) -> aws.ec2.Route:
        table = aws.ec2.RouteTable(
            f"{self._name}-private-{zone}",
            vpc_id=self.vpc_id,
            tags=self._tags(f"private-{zone}"),
            opts=self._child,
        )
        self._associate(f"private-{zone}", self.private_subnets[zone], table)
        gateway = gateways.get(zone) or next(iter(gateways.values()))
        return aws.ec2.Route(
            f"{self._name}-private-{zone}",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            nat_gateway_id=gateway.id,
            opts=self._child,
        )

    def _associate(self, name: str, subnet: pulumi.Output[str], table: aws.ec2.RouteTable) -> None:
        aws.ec2.RouteTableAssociation(
            f"{self._name}-{name}", subnet_id=subnet, route_table_id=table.id, opts=self._child
        )

    def _endpoints(self) -> list[aws.ec2.VpcEndpoint]:
        group = aws.ec2.SecurityGroup(
            f"{self._name}-endpoints",
            name=f"{self._args.prefix}-endpoints",
            description="HTTPS from the VPC to AWS services",
            vpc_id=self.vpc_id,
            tags=self._tags("endpoints"),
            opts=self._child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{self._name}-endpoints",
            security_group_id=group.id,
            cidr_ipv4=self._args.cidr,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            tags=self._tags("endpoints"),
            opts=self._child,
        )
        return [self._endpoint(service, group) for service in _SERVICES]

    def _endpoint(self, service: str, group: aws.ec2.SecurityGroup) -> aws.ec2.VpcEndpoint:
        # Otherwise names of S3 mean the interface for callers outside the VPC alone.
        everywhere = aws.ec2.VpcEndpointDnsOptionsArgs(
            private_dns_only_for_inbound_resolver_endpoint=False
        )
        return aws.ec2.VpcEndpoint(
            f"{self._name}-{service}",
            vpc_id=self.vpc_id,
            vpc_endpoint_type="Interface",
            service_name=f"com.amazonaws.{self._args.region}.{service}",
            subnet_ids=list(self.private_subnets.values()),
            security_group_ids=[group.id],
            private_dns_enabled=True,
            dns_options=everywhere if service == _S3 else None,
            policy=_policy(service, self._args.account) if service in _KEEPING else None,
            tags=self._tags(service),
            opts=self._child,
        )


def _policy(service: str, account: str) -> str:
    """Let the account's own principals through, whose policies say what they may do.

    Pods have no other way out. With credentials that somebody brought along, a pod could carry what
    it reads into a bucket of theirs.
    """
    own = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "*",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": account}},
    }
    # Layers of images and packages of nodes lie in buckets of AWS, and come with its signature.
    reading = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    statements = [own, reading] if service == _S3 else [own]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
