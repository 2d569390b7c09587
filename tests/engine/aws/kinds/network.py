"""VPCs and what is in them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.engine.aws.account import Account, missing
from tests.engine.aws.kind import Kind
from tests.engine.aws.shapes import capitalised, changed, gone, lowered, some, tag_list, tags_of
from tests.engine.aws.values import Plain


class Ec2Kind(Kind):
    """What is described by a list of ids and has tags."""

    resource: ClassVar[str]
    """Name of the type in tag specifications."""
    describe: ClassVar[tuple[str, str, str]]
    """Method, its argument for the ids, and the key of the result."""

    def tags(self, inputs: Plain) -> Plain:
        """The argument with the tags of something new."""
        if not inputs.get("tags"):
            return {}
        tags = {"ResourceType": self.resource, "Tags": tag_list(inputs["tags"])}
        return {"TagSpecifications": [tags]}

    def described(self, account: Account, identity: str) -> Plain | None:
        """What the API says of it."""
        method, argument, result = self.describe
        try:
            answer = getattr(account.client("ec2"), method)(**{argument: [identity]})
        except ClientError as error:
            if missing(error):
                return None
            raise
        found = answer[result]
        return found[0] if found else None

    def read(self, account: Account, identity: str) -> Plain | None:
        found = self.described(account, identity)
        if found is None or found.get("State") == "deleted":
            return None
        return {**self.properties(account, found), **tags_of(found.get("Tags"))}

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        """Its properties, without the tags."""
        raise NotImplementedError

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        ec2 = account.client("ec2")
        if removed := gone(old, new):
            ec2.delete_tags(Resources=[identity], Tags=[{"Key": key} for key in removed])
        if new.get("tags"):
            ec2.create_tags(Resources=[identity], Tags=tag_list(new["tags"]))


class Vpc(Ec2Kind):
    token = "aws:ec2/vpc:Vpc"
    force_new = frozenset({"cidrBlock", "instanceTenancy", "ipv4IpamPoolId", "ipv4NetmaskLength"})
    resource = "vpc"
    describe = ("describe_vpcs", "VpcIds", "Vpcs")
    _ATTRIBUTES: ClassVar = {
        "enableDnsSupport": "EnableDnsSupport",
        "enableDnsHostnames": "EnableDnsHostnames",
    }

    def create(self, account: Account, inputs: Plain) -> str:
        ec2 = account.client("ec2")
        made = ec2.create_vpc(CidrBlock=inputs["cidrBlock"], **self.tags(inputs))
        identity = str(made["Vpc"]["VpcId"])
        self._set(account, identity, inputs)
        return identity

    def _set(self, account: Account, identity: str, inputs: Plain) -> None:
        for key, name in self._ATTRIBUTES.items():
            if key in inputs:
                account.client("ec2").modify_vpc_attribute(
                    VpcId=identity, **{name: {"Value": inputs[key]}}
                )

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        super().update(account, identity, old, new)
        self._set(account, identity, new)

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        ec2, identity = account.client("ec2"), found["VpcId"]
        attributes = {
            key: ec2.describe_vpc_attribute(VpcId=identity, Attribute=key)[name]["Value"]
            for key, name in self._ATTRIBUTES.items()
        }
        in_vpc = [{"Name": "vpc-id", "Values": [identity]}]
        groups = ec2.describe_security_groups(
            Filters=[*in_vpc, {"Name": "group-name", "Values": ["default"]}]
        )["SecurityGroups"]
        return {
            **attributes,
            "arn": account.arn("ec2", f"vpc/{identity}"),
            "cidrBlock": found["CidrBlock"],
            "instanceTenancy": found["InstanceTenancy"],
            "defaultSecurityGroupId": groups[0]["GroupId"],
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_vpc(VpcId=identity)


class Subnet(Ec2Kind):
    token = "aws:ec2/subnet:Subnet"
    force_new = frozenset({"vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId"})
    resource = "subnet"
    describe = ("describe_subnets", "SubnetIds", "Subnets")

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").create_subnet(
            **capitalised(some(inputs, "vpcId", "cidrBlock", "availabilityZone")),
            **self.tags(inputs),
        )
        identity = str(made["Subnet"]["SubnetId"])
        self._set(account, identity, inputs)
        return identity

    @staticmethod
    def _set(account: Account, identity: str, inputs: Plain) -> None:
        if "mapPublicIpOnLaunch" in inputs:
            account.client("ec2").modify_subnet_attribute(
                SubnetId=identity, MapPublicIpOnLaunch={"Value": inputs["mapPublicIpOnLaunch"]}
            )

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        super().update(account, identity, old, new)
        self._set(account, identity, new)

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        kept = some(found, "VpcId", "CidrBlock", "AvailabilityZone", "MapPublicIpOnLaunch")
        return {"arn": account.arn("ec2", f"subnet/{found['SubnetId']}"), **lowered(kept)}

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_subnet(SubnetId=identity)


class InternetGateway(Ec2Kind):
    token = "aws:ec2/internetGateway:InternetGateway"
    resource = "internet-gateway"
    describe = ("describe_internet_gateways", "InternetGatewayIds", "InternetGateways")

    def create(self, account: Account, inputs: Plain) -> str:
        ec2 = account.client("ec2")
        made = ec2.create_internet_gateway(**self.tags(inputs))
        identity = str(made["InternetGateway"]["InternetGatewayId"])
        if "vpcId" in inputs:
            ec2.attach_internet_gateway(InternetGatewayId=identity, VpcId=inputs["vpcId"])
        return identity

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        super().update(account, identity, old, new)
        ec2 = account.client("ec2")
        if changed(old, new, "vpcId"):
            ec2.detach_internet_gateway(InternetGatewayId=identity, VpcId=old["vpcId"])
            ec2.attach_internet_gateway(InternetGatewayId=identity, VpcId=new["vpcId"])

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        attached = found.get("Attachments") or [{}]
        return {
            "arn": account.arn("ec2", f"internet-gateway/{found['InternetGatewayId']}"),
            "vpcId": attached[0].get("VpcId"),
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        ec2 = account.client("ec2")
        if "vpcId" in inputs:
            ec2.detach_internet_gateway(InternetGatewayId=identity, VpcId=inputs["vpcId"])
        ec2.delete_internet_gateway(InternetGatewayId=identity)


class Eip(Ec2Kind):
    token = "aws:ec2/eip:Eip"
    force_new = frozenset({"domain", "address", "publicIpv4Pool"})
    resource = "elastic-ip"
    describe = ("describe_addresses", "AllocationIds", "Addresses")

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").allocate_address(
            Domain=inputs.get("domain", "vpc"), **self.tags(inputs)
        )
        return str(made["AllocationId"])

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        return {
            "arn": account.arn("ec2", f"elastic-ip/{found['AllocationId']}"),
            **lowered(some(found, "AllocationId", "Domain", "PublicIp")),
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").release_address(AllocationId=identity)


class NatGateway(Ec2Kind):
    token = "aws:ec2/natGateway:NatGateway"
    force_new = frozenset({"subnetId", "allocationId", "connectivityType", "privateIp"})
    resource = "natgateway"
    describe = ("describe_nat_gateways", "NatGatewayIds", "NatGateways")

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").create_nat_gateway(
            **capitalised(some(inputs, "subnetId", "allocationId", "connectivityType")),
            **self.tags(inputs),
        )
        return str(made["NatGateway"]["NatGatewayId"])

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        addresses = found.get("NatGatewayAddresses") or [{}]
        return {
            **lowered(some(found, "SubnetId", "ConnectivityType")),
            "allocationId": addresses[0].get("AllocationId"),
            "publicIp": addresses[0].get("PublicIp"),
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_nat_gateway(NatGatewayId=identity)


class RouteTable(Ec2Kind):
    token = "aws:ec2/routeTable:RouteTable"
    force_new = frozenset({"vpcId"})
    resource = "route-table"
    describe = ("describe_route_tables", "RouteTableIds", "RouteTables")

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").create_route_table(VpcId=inputs["vpcId"], **self.tags(inputs))
        return str(made["RouteTable"]["RouteTableId"])

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        arn = account.arn("ec2", f"route-table/{found['RouteTableId']}")
        return {"arn": arn, "vpcId": found["VpcId"]}

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_route_table(RouteTableId=identity)


class Route(Kind):
    """Its id is the table's and the destination, as in the provider."""

    token = "aws:ec2/route:Route"
    force_new = frozenset({"routeTableId", "destinationCidrBlock"})
    _TARGETS: ClassVar = ("gatewayId", "natGatewayId")

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("ec2").create_route(**capitalised(inputs))
        return f"r-{inputs['routeTableId']}_{inputs['destinationCidrBlock']}"

    def read(self, account: Account, identity: str) -> Plain | None:
        table, destination = identity.removeprefix("r-").split("_")
        try:
            tables = account.client("ec2").describe_route_tables(RouteTableIds=[table])
        except ClientError as error:
            if missing(error):
                return None
            raise
        for route in tables["RouteTables"][0]["Routes"]:
            if route.get("DestinationCidrBlock") == destination:
                kept = lowered(some(route, "DestinationCidrBlock", "GatewayId", "NatGatewayId"))
                return {"routeTableId": table, "state": route["State"], **kept}
        return None

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        account.client("ec2").replace_route(**capitalised(new))

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_route(
            **capitalised(some(inputs, "routeTableId", "destinationCidrBlock"))
        )


class RouteTableAssociation(Kind):
    """The provider gives it another table in place; the stand-in does not."""

    token = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    force_new = frozenset({"subnetId", "gatewayId"})

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").associate_route_table(**capitalised(inputs))
        return str(made["AssociationId"])

    def read(self, account: Account, identity: str) -> Plain | None:
        found = account.client("ec2").describe_route_tables(
            Filters=[{"Name": "association.route-table-association-id", "Values": [identity]}]
        )
        for table in found["RouteTables"]:
            for association in table["Associations"]:
                if association["RouteTableAssociationId"] == identity:
                    return dict(lowered(some(association, "RouteTableId", "SubnetId")))
        return None

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").disassociate_route_table(AssociationId=identity)


class VpcEndpoint(Ec2Kind):
    token = "aws:ec2/vpcEndpoint:VpcEndpoint"
    force_new = frozenset({"vpcId", "serviceName", "vpcEndpointType", "serviceRegion"})
    # moto knows no DNS options.
    not_kept = frozenset({"dnsOptions"})
    resource = "vpc-endpoint"
    describe = ("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints")

    def create(self, account: Account, inputs: Plain) -> str:
        kept = some(
            inputs,
            "vpcId",
            "vpcEndpointType",
            "serviceName",
            "subnetIds",
            "securityGroupIds",
            "privateDnsEnabled",
            "routeTableIds",
        )
        policy = {"PolicyDocument": inputs["policy"]} if "policy" in inputs else {}
        made = account.client("ec2").create_vpc_endpoint(
            **capitalised(kept), **policy, **self.tags(inputs)
        )
        return str(made["VpcEndpoint"]["VpcEndpointId"])

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        kept = some(
            found,
            "VpcId",
            "VpcEndpointType",
            "ServiceName",
            "SubnetIds",
            "PrivateDnsEnabled",
            "RouteTableIds",
        )
        groups = [group["GroupId"] for group in found.get("Groups") or ()]
        return {
            "arn": account.arn("ec2", f"vpc-endpoint/{found['VpcEndpointId']}"),
            **lowered(kept),
            "securityGroupIds": groups,
            "policy": found.get("PolicyDocument"),
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[identity])


class SecurityGroup(Ec2Kind):
    token = "aws:ec2/securityGroup:SecurityGroup"
    force_new = frozenset({"name", "namePrefix", "description", "vpcId"})
    name = "name"
    # Of a group that is deleted: nothing to give back.
    not_kept = frozenset({"revokeRulesOnDelete"})
    resource = "security-group"
    describe = ("describe_security_groups", "GroupIds", "SecurityGroups")

    def create(self, account: Account, inputs: Plain) -> str:
        ec2 = account.client("ec2")
        made = ec2.create_security_group(
            GroupName=inputs["name"],
            Description=inputs.get("description", "Managed by Pulumi"),
            VpcId=inputs["vpcId"],
            **self.tags(inputs),
        )
        identity = str(made["GroupId"])
        # The provider removes the rule that AWS makes, which lets everything out.
        everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.revoke_security_group_egress(GroupId=identity, IpPermissions=[everything])
        for direction in ("ingress", "egress"):
            if inputs.get(direction):
                authorize = getattr(ec2, f"authorize_security_group_{direction}")
                authorize(
                    GroupId=identity,
                    IpPermissions=[_permission(rule) for rule in inputs[direction]],
                )
        return identity

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        return {
            "arn": account.arn("ec2", f"security-group/{found['GroupId']}"),
            "name": found["GroupName"],
            "description": found["Description"],
            "vpcId": found["VpcId"],
            "ingress": [_rule(each) for each in found["IpPermissions"]],
            "egress": [_rule(each) for each in found["IpPermissionsEgress"]],
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_security_group(GroupId=identity)


def _permission(rule: Mapping[str, Any]) -> Plain:
    ranges = {"IpRanges": [{"CidrIp": cidr} for cidr in rule.get("cidrBlocks") or ()]}
    groups = {"UserIdGroupPairs": [{"GroupId": each} for each in rule.get("securityGroups") or ()]}
    ports = {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
    return {"IpProtocol": rule["protocol"], **ports, **ranges, **groups}


def _rule(permission: Mapping[str, Any]) -> Plain:
    return {
        "protocol": permission["IpProtocol"],
        "fromPort": permission.get("FromPort", 0),
        "toPort": permission.get("ToPort", 0),
        "cidrBlocks": [each["CidrIp"] for each in permission["IpRanges"]],
        "securityGroups": [each["GroupId"] for each in permission["UserIdGroupPairs"]],
        "self": False,
    }


class _GroupRule(Ec2Kind):
    """One rule; AWS changes its contents in place, moto cannot."""

    force_new = frozenset({"securityGroupId"})
    # moto stores tags and descriptions of rules by the permission and not by the rule.
    not_kept = frozenset({"tags", "description"})
    resource = "security-group-rule"
    describe = ("describe_security_group_rules", "SecurityGroupRuleIds", "SecurityGroupRules")
    direction: ClassVar[str]

    def create(self, account: Account, inputs: Plain) -> str:
        authorize = getattr(account.client("ec2"), f"authorize_security_group_{self.direction}")
        made = authorize(GroupId=inputs["securityGroupId"], IpPermissions=[_one_rule(inputs)])
        return str(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        kept = ("ipProtocol", "fromPort", "toPort", "cidrIpv4", "referencedSecurityGroupId")
        if changed(old, new, *kept):
            account.client("ec2").modify_security_group_rules(
                GroupId=new["securityGroupId"],
                SecurityGroupRules=[
                    {
                        "SecurityGroupRuleId": identity,
                        "SecurityGroupRule": {
                            **capitalised(some(new, "ipProtocol", "fromPort", "toPort")),
                            **capitalised(some(new, "cidrIpv4")),
                        },
                    }
                ],
            )

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        identity = found["SecurityGroupRuleId"]
        return {
            "arn": account.arn("ec2", f"security-group-rule/{identity}"),
            "securityGroupRuleId": identity,
            "securityGroupId": found["GroupId"],
            "ipProtocol": found["IpProtocol"],
            "fromPort": found.get("FromPort"),
            "toPort": found.get("ToPort"),
            "cidrIpv4": found.get("CidrIpv4"),
            "referencedSecurityGroupId": (found.get("ReferencedGroupInfo") or {}).get("GroupId"),
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        revoke = getattr(account.client("ec2"), f"revoke_security_group_{self.direction}")
        revoke(GroupId=inputs["securityGroupId"], SecurityGroupRuleIds=[identity])


def _one_rule(inputs: Plain) -> Plain:
    found: Plain = {"IpProtocol": inputs["ipProtocol"]}
    found |= capitalised(some(inputs, "fromPort", "toPort"))
    if "cidrIpv4" in inputs:
        found["IpRanges"] = [{"CidrIp": inputs["cidrIpv4"]}]
    if "referencedSecurityGroupId" in inputs:
        found["UserIdGroupPairs"] = [{"GroupId": inputs["referencedSecurityGroupId"]}]
    return found


class IngressRule(_GroupRule):
    token = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    direction = "ingress"


class EgressRule(_GroupRule):
    token = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
    direction = "egress"


KINDS: tuple[Kind, ...] = (
    Vpc(),
    Subnet(),
    InternetGateway(),
    Eip(),
    NatGateway(),
    RouteTable(),
    Route(),
    RouteTableAssociation(),
    VpcEndpoint(),
    SecurityGroup(),
    IngressRule(),
    EgressRule(),
)
