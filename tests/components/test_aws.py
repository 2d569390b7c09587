"""What a configuration of a cluster in AWS declares."""

import json
from ipaddress import IPv4Network

import pytest

from components.node_group import Block, NodeGroupArgs
from stacks.programs.cluster.aws import Naming, declare_aws
from tests.aws_configs import BLOCK, ZONES, block, cluster
from tests.components.declared import Program, declare

TAGS = {"owner": "platform", "cost-center": "4711"}
NODES = "aws:eks/nodeGroup:NodeGroup"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
# AWS knows no tags on these.
UNTAGGED = {
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:kms/alias:Alias",
}


def declared(*, protected=True, **changes) -> Program:
    naming = Naming(prefix="acme-prod", protected=protected, tags=TAGS)
    return declare(lambda: declare_aws(cluster(**changes), naming))


@pytest.fixture(scope="module")
def program() -> Program:
    return declared()


def on_demand(**llm):
    capacity = {"kind": "on-demand", **llm}
    return {"llm": {"zone": ZONES[0], "capacity": capacity}}


def test_everything_in_the_account_is_tagged(program):
    for each in program.resources:
        if each.type.startswith("aws:") and each.type not in UNTAGGED:
            assert each.inputs["tags"].items() >= TAGS.items(), each.name


def test_every_name_begins_with_the_prefix(program):
    for each in program.resources:
        name = each.inputs.get("name") if each.type.startswith(("aws:", "eks:")) else None
        assert name is None or "acme-prod" in name, each.name


def test_every_zone_has_its_own_way_out(program):
    routes = [r.inputs for r in program.of_type("aws:ec2/route:Route") if "private" in r.name]
    assert {each["natGatewayId"] for each in routes} == {f"network-{z}-id" for z in ZONES}


def test_one_nat_gateway_may_serve_all_zones():
    program = declared(network={"cidr": "10.20.0.0/16", "nat": "single"})
    assert [each.name for each in program.of_type("aws:ec2/natGateway:NatGateway")] == [
        f"network-{ZONES[0]}"
    ]
    routes = [r.inputs for r in program.of_type("aws:ec2/route:Route") if "private" in r.name]
    assert [each["natGatewayId"] for each in routes] == [f"network-{ZONES[0]}-id"] * 3


def test_subnets_say_which_load_balancers_they_are_for(program):
    roles = {"public": "kubernetes.io/role/elb", "private": "kubernetes.io/role/internal-elb"}
    for kind, role in roles.items():
        subnets = [s for s in program.of_type("aws:ec2/subnet:Subnet") if f"-{kind}-" in s.name]
        assert {each.inputs["availabilityZone"] for each in subnets} == set(ZONES)
        for each in subnets:
            assert each.inputs["tags"][role] == "1"
            assert set(roles.values()) & set(each.inputs["tags"]) == {role}
            assert each.inputs["mapPublicIpOnLaunch"] is False


def test_names_of_s3_mean_addresses_in_the_vpc_for_pods_too(program):
    endpoint = program.one(ENDPOINT, "network-s3").inputs
    assert endpoint["vpcEndpointType"] == "Interface"
    assert endpoint["privateDnsEnabled"] is True
    assert endpoint["dnsOptions"] == {"privateDnsOnlyForInboundResolverEndpoint": False}
    assert len(endpoint["subnetIds"]) == len(ZONES)


def test_services_that_pods_call_have_private_addresses(program):
    services = {each.inputs["serviceName"] for each in program.of_type(ENDPOINT)}
    needed = {"s3", "ecr.api", "ecr.dkr", "sts", "logs", "ec2", "eks-auth"}
    assert services >= {f"com.amazonaws.eu-central-1.{service}" for service in needed}


@pytest.mark.parametrize("service", ["s3", "logs", "secretsmanager"])
def test_nobody_elses_credentials_write_through_an_endpoint(program, service):
    policy = json.loads(program.one(ENDPOINT, f"network-{service}").inputs["policy"])
    own = {"StringEquals": {"aws:PrincipalAccount": cluster().account}}
    for statement in policy["Statement"]:
        reads = statement["Action"] == "s3:GetObject" and service == "s3"
        assert reads or statement["Condition"] == own, statement


def test_endpoints_let_the_vpc_in_by_https_alone(program):
    (rule,) = (
        each
        for each in program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
        if each.name == "network-endpoints"
    )
    ports = (rule.inputs["fromPort"], rule.inputs["toPort"])
    assert (rule.inputs["cidrIpv4"], ports) == ("10.20.0.0/16", (443, 443))


def test_nothing_lets_the_internet_in(program):
    for each in program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        cidr = each.inputs.get("cidrIpv4")
        assert cidr is None or IPv4Network(cidr).is_private, each.name


def test_a_private_control_plane_has_no_public_endpoint(program):
    (eks,) = program.of_type("eks:index:Cluster")
    assert eks.inputs["endpointPublicAccess"] is False
    assert "publicAccessCidrs" not in eks.inputs
    assert eks.inputs["authenticationMode"] == "API"
    assert eks.inputs["deletionProtection"] is True
    assert eks.inputs["encryptionConfigKeyArn"]
    assert eks.inputs["skipDefaultNodeGroup"] is True


def test_a_public_endpoint_is_for_named_networks():
    program = declared(endpoint="public", public_access_cidrs=["192.0.2.0/24"], protected=False)
    (eks,) = program.of_type("eks:index:Cluster")
    assert eks.inputs["endpointPublicAccess"] is True
    assert eks.inputs["endpointPrivateAccess"] is True
    assert eks.inputs["publicAccessCidrs"] == ["192.0.2.0/24"]
    assert eks.inputs["deletionProtection"] is False


def test_admins_have_an_access_entry_each():
    roles = [f"arn:aws:iam::{account}:role/ci" for account in ("111111111111", "222222222222")]
    (eks,) = declared(admins=roles).of_type("eks:index:Cluster")
    entries = eks.inputs["accessEntries"].values()
    assert sorted(each["principalArn"] for each in entries) == roles


def test_viewers_read_what_is_no_secret():
    viewer = "arn:aws:iam::111111111111:role/preview"
    (eks,) = declared(viewers=[viewer]).of_type("eks:index:Cluster")
    policies = {
        each["principalArn"]: [one["policyArn"] for one in each["accessPolicies"].values()]
        for each in eks.inputs["accessEntries"].values()
    }
    # Of EKS's policies this one alone reads no Secrets: AmazonEKSAdminViewPolicy does.
    prefix = "arn:aws:eks::aws:cluster-access-policy"
    assert policies[viewer] == [f"{prefix}/AmazonEKSViewPolicy"]
    assert [arn for arn, given in policies.items() if given != policies[viewer]] == [
        "arn:aws:iam::123456789012:role/platform/admins"
    ]


def test_the_logs_of_the_control_plane_end_some_day(program):
    (group,) = program.of_type("aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["name"] == "/aws/eks/acme-prod/cluster"
    assert group.inputs["retentionInDays"] > 0


def test_the_cni_enforces_network_policies(program):
    addon = program.one("aws:eks/addon:Addon", "node-addons-vpc-cni").inputs
    assert json.loads(addon["configurationValues"]) == {"enableNetworkPolicy": "true"}


def test_addons_take_their_roles_by_pod_identity(program):
    associations = program.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert {each.inputs["serviceAccount"] for each in associations} == {
        "aws-node",
        "ebs-csi-controller-sa",
    }
    for each in program.of_type("aws:eks/addon:Addon"):
        assert "serviceAccountRoleArn" not in each.inputs


def test_an_addon_may_be_pinned():
    program = declared(addon_versions={"coredns": "v1.12.3-eksbuild.1"})
    versions = {
        each.inputs["addonName"]: each.inputs.get("addonVersion")
        for each in program.of_type("aws:eks/addon:Addon")
    }
    assert versions.pop("coredns") == "v1.12.3-eksbuild.1"
    assert set(versions.values()) == {None}


def test_volumes_are_encrypted_by_default(program):
    (default,) = program.of_type("kubernetes:storage.k8s.io/v1:StorageClass")
    assert default.inputs["parameters"]["encrypted"] == "true"
    annotations = default.inputs["metadata"]["annotations"]
    assert annotations["storageclass.kubernetes.io/is-default-class"] == "true"


def test_nodes_have_encrypted_disks_and_metadata_with_tokens_alone(program):
    for template in program.of_type(TEMPLATE):
        (disk,) = template.inputs["blockDeviceMappings"]
        assert (disk["ebs"]["encrypted"], disk["ebs"]["volumeType"]) == ("true", "gp3")
        assert template.inputs["metadataOptions"]["httpTokens"] == "required"
        assert template.inputs["metadataOptions"]["httpPutResponseHopLimit"] == 1
        specifications = template.inputs["tagSpecifications"]
        tagged = {each["resourceType"]: each["tags"] for each in specifications}
        assert all(tagged[kind].items() >= TAGS.items() for kind in ("instance", "volume"))


def test_nodes_with_gpus_are_tainted_and_named_by_their_gpu(program):
    for group in program.of_type(NODES):
        labels, taints = group.inputs["labels"], group.inputs["taints"]
        if group.name == "nodes-system":
            assert not taints
            assert group.inputs["amiType"] == "AL2023_x86_64_STANDARD"
            continue
        assert [(each["key"], each["effect"]) for each in taints] == [
            ("nvidia.com/gpu", "NO_SCHEDULE")
        ]
        assert group.inputs["amiType"] == "AL2023_x86_64_NVIDIA"
        assert labels["nvidia.com/gpu.product"].startswith("NVIDIA-")
        assert labels["custom-model-pipeline/pool"] in {"slm", "llm", "training"}


def test_spot_nodes_stand_on_a_floor_of_on_demand_nodes(program):
    spot = program.one(NODES, "nodes-slm").inputs
    floor = program.one(NODES, "nodes-slm-floor").inputs
    assert (spot["capacityType"], floor["capacityType"]) == ("SPOT", "ON_DEMAND")
    assert floor["scalingConfig"] == {"minSize": 1, "maxSize": 1, "desiredSize": 1}
    assert spot["labels"] == floor["labels"]


def test_training_starts_from_no_node(program):
    group = program.one(NODES, "nodes-training").inputs
    assert (group["capacityType"], group["scalingConfig"]["minSize"]) == ("SPOT", 0)


def test_a_block_is_used_as_ec2_and_eks_ask(program):
    group = program.one(NODES, "nodes-llm").inputs
    template = program.one(TEMPLATE, "nodes-llm").inputs
    assert group["capacityType"] == "CAPACITY_BLOCK"
    assert group["subnetIds"] == [f"network-private-{ZONES[1]}-id"]
    assert group["version"] == "1.35"
    assert "instanceTypes" not in group
    assert template["instanceType"] == "p5.48xlarge"
    assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
    target = template["capacityReservationSpecification"]["capacityReservationTarget"]
    assert target == {"capacityReservationId": BLOCK}
    assert not program.of_type("aws:ec2/placementGroup:PlacementGroup")


def test_nothing_buys_capacity(program):
    bought = {"CapacityBlockReservation", "CapacityReservation"}
    assert not [each for each in program.resources if each.type.rpartition(":")[2] in bought]


def test_a_block_may_have_no_node():
    group = declared(nodes={"llm": block(desired=0)}).one(NODES, "nodes-llm").inputs
    # EKS refuses a maximum of 0.
    assert group["scalingConfig"] == {"minSize": 0, "maxSize": 1, "desiredSize": 0}


def test_a_reservation_is_named_and_its_nodes_are_on_demand():
    capacity = {"kind": "reservation", "id": BLOCK, "instances": 2}
    program = declared(nodes={"llm": {"zone": ZONES[0], "capacity": capacity}})
    group = program.one(NODES, "nodes-llm").inputs
    template = program.one(TEMPLATE, "nodes-llm").inputs
    assert (group["capacityType"], group["instanceTypes"]) == ("ON_DEMAND", ["p5.48xlarge"])
    assert group["scalingConfig"]["maxSize"] == 2
    assert "instanceMarketOptions" not in template
    assert template["capacityReservationSpecification"]["capacityReservationTarget"]


def test_nodes_without_a_reservation_are_placed_together():
    program = declared(nodes=on_demand())
    (placement,) = program.of_type("aws:ec2/placementGroup:PlacementGroup")
    template = program.one(TEMPLATE, "nodes-llm").inputs
    assert placement.inputs["strategy"] == "cluster"
    assert template["placement"] == {"groupName": placement.inputs["name"]}


def test_every_network_card_has_an_efa_interface_and_one_has_an_address(program):
    interfaces = program.one(TEMPLATE, "nodes-llm").inputs["networkInterfaces"]
    assert [each["networkCardIndex"] for each in interfaces] == list(range(32))
    assert [each["interfaceType"] for each in interfaces] == ["efa", *["efa-only"] * 31]
    assert all(each["securityGroups"] == ["sg-cluster", "nodes-efa-id"] for each in interfaces)
    template = program.one(TEMPLATE, "nodes-slm").inputs
    assert template["vpcSecurityGroupIds"] == ["sg-cluster"]


def test_efa_passes_between_its_nodes_in_both_directions(program):
    for direction in ("Ingress", "Egress"):
        kind = f"SecurityGroup{direction}Rule"
        rule = program.one(f"aws:vpc/s{kind[1:]}:{kind}", "nodes-efa").inputs
        assert rule["referencedSecurityGroupId"] == rule["securityGroupId"] == "nodes-efa-id"


def test_a_cluster_may_have_system_nodes_alone():
    program = declared(nodes={})
    assert [each.name for each in program.of_type(NODES)] == ["nodes-system"]


def args(**changes):
    return {
        "provider": None,
        "group": "acme-prod-llm",
        "cluster": "acme-prod",
        "cluster_security_group": "sg",
        "role_arn": "arn",
        "subnets": ["a"],
        "instance_types": ["p5.48xlarge"],
        "price": "on-demand",
        "minimum": 0,
        "maximum": 1,
        "has_gpu": True,
        "labels": {},
        "taints": ["nvidia.com/gpu"],
        "disk_gib": 100,
        "tags": {},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"taints": []}, "need a taint"),
        ({"group": "a" * 37}, "36 are possible"),
        (
            {
                "capacity": Block(id=BLOCK, version="1.35"),
                "instance_types": ["p5.48xlarge", "p5e.48xlarge"],
            },
            "of one instance type",
        ),
    ],
)
def test_a_node_group_that_cannot_be_is_refused(changes, fix):
    NodeGroupArgs(**args())
    with pytest.raises(ValueError, match=fix):
        NodeGroupArgs(**args(**changes))
