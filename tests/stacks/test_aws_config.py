"""What a configuration of a cluster in AWS may say."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stacks.catalogue.instances import instance, instances
from stacks.catalogue.regions import regions, zones_of
from stacks.config.aws import require_production
from stacks.config.existing import ExistingCluster
from stacks.config.network import Network
from stacks.config.nodes import NodeGroups, block_state, refuse_block_upgrade
from tests.aws_configs import REGION, ZONES, block, cluster


def message(error) -> str:
    return " ".join(each["msg"] for each in error.value.errors())


def network(cidr, **changes):
    return {"cidr": cidr, "nat": "per-zone", **changes}


private_networks = st.builds(
    lambda base, prefix, place: list(IPv4Network(base).subnets(new_prefix=prefix))[
        place % 2 ** (prefix - IPv4Network(base).prefixlen)
    ],
    st.sampled_from(["10.0.0.0/12", "172.24.0.0/14", "192.168.0.0/16", "100.64.0.0/12"]),
    st.integers(16, 24),
    st.integers(0, 2**12),
)


@given(private_networks)
def test_subnets_are_disjoint_parts_of_the_vpc_in_every_zone(vpc):
    subnets = Network(cidr=str(vpc), nat="single").subnets
    parts = [IPv4Network(each) for each in (*subnets.private, *subnets.public)]
    assert len(parts) == 2 * len(ZONES)
    assert all(part.subnet_of(vpc) for part in parts)
    assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
    assert {part.num_addresses * 4 for part in parts[:3]} == {vpc.num_addresses}


@given(private_networks, private_networks)
def test_a_vpc_that_overlaps_services_is_refused_and_no_other(vpc, services):
    if vpc.overlaps(services):
        with pytest.raises(ValidationError, match="overlaps service_cidr"):
            Network(cidr=str(vpc), nat="single", service_cidr=str(services))
    else:
        made = Network(cidr=str(vpc), nat="single", service_cidr=str(services))
        assert made.cidr == str(vpc)


@given(private_networks, private_networks)
def test_clients_are_inside_the_vpc_or_apart_from_it(vpc, client):
    if vpc.overlaps(client) and not client.subnet_of(vpc):
        with pytest.raises(ValidationError, match="overlaps api_clients"):
            Network(cidr=str(vpc), nat="single", api_clients=(str(client),))
    else:
        assert Network(cidr=str(vpc), nat="single", api_clients=(str(client),)).api_clients


@given(private_networks, st.integers(1, 400))
def test_a_zone_has_room_for_every_node_or_the_message_names_a_size_that_has(vpc, nodes):
    made = Network(cidr=str(vpc), nat="single")
    if IPv4Network(made.subnets.private[0]).num_addresses - 5 >= nodes * 111 + 64:
        made.require_room(nodes)
        return
    with pytest.raises(ValueError, match=f"{nodes} nodes") as error:
        made.require_room(nodes)
    _, is_possible, prefix = str(error.value).partition("use /")
    if is_possible:
        enough = f"10.0.0.0/{prefix.split()[0]}"
        Network(cidr=enough, nat="single").require_room(nodes)
        assert IPv4Network(enough).num_addresses > vpc.num_addresses


@pytest.mark.parametrize(
    ("cidr", "fix"),
    [
        ("10.20.0.0/22", "use /"),
        ("8.8.0.0/16", "inside 10.0.0.0/8"),
        ("10.20.0.1/16", "host bits"),
        ("10.0.0.0/8", "/16 to /24"),
        ("172.17.0.0/16", "container runtime"),
        ("office", "is no IPv4 network"),
    ],
)
def test_a_network_that_cannot_be_is_refused(cidr, fix):
    with pytest.raises(ValidationError) as error:
        cluster(network=network(cidr))
    assert fix in message(error)


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"account": "12345"}, "written as 12 digits"),
        ({"region": "eu-centrl-1"}, "use eu-central-1"),
        ({"zones": (*ZONES[:2], "eu-central-1d")}, "eu-central-1a, eu-central-1b, eu-central-1c"),
        ({"zones": (*ZONES[:2], ZONES[0])}, "three different ones"),
        ({"version": "1.21"}, "Input should be '1.34', '1.35' or '1.36'"),
        (
            {"admins": ["arn:aws:iam::123456789012:user/alice"]},
            "arn:aws:iam::<account>:role/<name>",
        ),
        (
            {"viewers": ["arn:aws:iam::123456789012:role/platform/admins"]},
            "role/platform/admins is named twice",
        ),
        ({"endpoint": "public"}, "set endpoint: private"),
        ({"endpoint": "public", "public_access_cidrs": ["0.0.0.0/0"]}, "whole internet"),
        (
            {"endpoint": "public", "public_access_cidrs": ["0.0.0.0/1", "128.0.0.0/1"]},
            "whole internet",
        ),
        ({"public_access_cidrs": ["192.0.2.0/24"]}, "a private endpoint has none"),
    ],
)
def test_a_control_plane_that_cannot_be_is_refused(changes, fix):
    with pytest.raises(ValidationError) as error:
        cluster(**changes)
    assert fix in message(error)


@pytest.mark.parametrize(
    ("nodes", "fix"),
    [
        ({"slm": {"instance_types": ["g6.xlarg"]}}, "use g6.xlarge"),
        ({"slm": {"instance_types": ["m7i.large"]}}, "has no GPU"),
        ({"system": {"instance_types": ["g6.xlarge"]}}, "system nodes need none"),
        ({"slm": {"instance_types": ["g6.xlarge", "g6e.xlarge"]}}, "1 x L40S"),
        ({"slm": {"instance_types": ["g6.2xlarge", "g6.xlarge"]}}, "put the smallest first"),
        ({"slm": {"min": 5, "max": 4}}, "max must be at least min"),
        ({"slm": {"price": "on-demand", "on_demand_floor": 1}}, "set min instead"),
        ({"llm": {**block(), "zone": "eu-central-1d"}}, "no subnet is in 'eu-central-1d'"),
        ({"llm": {**block(), "instance_type": "g6.48xlarge"}}, "no Capacity Blocks"),
        ({"llm": block(desired=3)}, "the block holds 2"),
        ({"llm": block(id="i-0123456789")}, "written as cr-<digits>"),
        ({"llm": block(version="1.36")}, "not ahead"),
        ({"llm": block(version="1.31")}, "at most 3 minor versions behind"),
        (
            {
                "training": {
                    "instance_types": ["g6.12xlarge"],
                    "price": "spot",
                    "checkpoints": False,
                }
            },
            "set price: on-demand",
        ),
        ({"slm": {"taint": False}}, "Extra inputs are not permitted"),
    ],
)
def test_nodes_that_cannot_be_are_refused(nodes, fix):
    with pytest.raises(ValidationError) as error:
        cluster(nodes=nodes)
    assert fix in message(error)


def state(tags=None, *, disk_gib=500, **changes):
    nodes = NodeGroups.model_validate({"llm": {**block(**changes), "disk_gib": disk_gib}})
    return block_state(nodes, tags or {})


NEW = [{"version": "1.34"}, {"id": "cr-0123456789"}, {"disk_gib": 600}, {"tags": {"owner": "b"}}]


@pytest.mark.parametrize("change", NEW)
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 0), (0, 1)])
def test_nodes_of_a_block_are_not_changed_while_they_run(change, before, after):
    with pytest.raises(ValueError, match=r"set capacity\.desired: 0, update"):
        refuse_block_upgrade(state(desired=after), state(desired=before, **change))


@pytest.mark.parametrize("change", NEW)
def test_nodes_of_a_block_are_changed_while_there_are_none(change):
    refuse_block_upgrade(state(desired=0), state(desired=0, **change))


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (1, 2)])
def test_a_block_may_grow_and_shrink(before, after):
    refuse_block_upgrade(state(desired=after), state(desired=before))


def test_a_first_block_and_a_last_one_are_no_upgrade():
    assert block_state(NodeGroups(), {}) is None
    refuse_block_upgrade(state(), None)
    refuse_block_upgrade(None, state())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"endpoint": "public", "public_access_cidrs": ["192.0.2.0/24"]}, "endpoint"),
        ({"network": {"cidr": "10.20.0.0/16", "nat": "single"}}, "nat"),
        ({"log_types": ["audit"]}, "log_types"),
        ({"nodes": {"slm": {}}}, "on_demand_floor"),
    ],
)
def test_production_needs_more(changes, key):
    require_production(cluster())
    with pytest.raises(ValueError, match=key):
        require_production(cluster(**changes))


def test_the_kubernetes_service_has_the_first_address_of_the_services():
    made = cluster(network=network("10.20.0.0/16", service_cidr="172.30.0.0/16"))
    assert made.api_server == "172.30.0.1/32"


def test_pods_of_a_pool_tolerate_the_taint_of_its_nodes():
    made = cluster()
    assert made.pool_nodes("slm").toleration == "nvidia.com/gpu"
    assert made.pool_nodes("system").toleration is None
    with pytest.raises(ValueError, match=r"add cluster\.nodes\.llm"):
        cluster(nodes={"slm": {}}).pool_nodes("llm")


def existing(**nodes):
    return ExistingCluster.model_validate(
        {
            "kind": "existing",
            "context": "kind-pipeline",
            "api_server": {"cidr": "172.18.0.2/32"},
            "object_storage": {
                "endpoint": "http://storage.storage:9000",
                "cidr": "10.244.0.0/16",
                "credentials_secret": "object-storage",
            },
            "nodes": {"slm": {"vcpu": 2, "ram_gib": 8, **nodes}},
        }
    )


def test_nodes_that_exist_have_a_taint_when_they_have_gpus():
    gpu = {"gpus": 1, "gpu": "L4", "vram_gib": 22}
    with pytest.raises(ValidationError, match="toleration is missing"):
        existing(**gpu)
    nodes = existing(**gpu, toleration="nvidia.com/gpu").pool_nodes("slm")
    assert (nodes.toleration, nodes.instances[0].gpus) == ("nvidia.com/gpu", 1)


def test_nodes_that_exist_may_have_no_gpu():
    nodes = existing(selector={"kubernetes.io/os": "linux"}).pool_nodes("slm")
    assert (nodes.toleration, nodes.instances[0].vram_gib) == (None, 0)


def test_storage_that_exists_is_on_a_private_network():
    with pytest.raises(ValidationError, match="is not private"):
        ExistingCluster.model_validate(
            {
                **existing().model_dump(),
                "object_storage": {
                    "endpoint": "https://s3.example.com",
                    "cidr": "0.0.0.0/0",
                    "credentials_secret": "object-storage",
                },
            }
        )


def test_the_catalogue_agrees_with_what_aws_describes():
    """moto ships the answers of `aws ec2 describe-instance-types`."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    for name, ours in instances().items():
        theirs = INSTANCE_TYPES[name]
        gpus = theirs.get("GpuInfo", {}).get("Gpus", [{"Count": 0}])[0]
        assert ours.vcpu == theirs["VCpuInfo"]["DefaultVCpus"], name
        assert ours.ram_gib * 1024 == theirs["MemoryInfo"]["SizeInMiB"], name
        assert ours.gpus == gpus["Count"], name
        assert ours.vram_gib * 1024 == gpus.get("MemoryInfo", {"SizeInMiB": 0})["SizeInMiB"], name
        assert ours.efa == theirs["NetworkInfo"].get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)
        assert ours.has_blocks == ("capacity-block" in theirs["SupportedUsageClasses"]), name
        assert [ours.architecture] == [
            each for each in theirs["ProcessorInfo"]["SupportedArchitectures"] if each != "i386"
        ]


def test_every_region_has_three_zones():
    assert all(len(zones_of(region)) >= len(ZONES) for region in regions())
    assert zones_of(REGION) == ZONES


def test_an_unknown_instance_type_is_answered_with_those_of_its_family():
    with pytest.raises(ValueError, match=r"use p5\.4xlarge, p5\.48xlarge"):
        instance("p5.96xlarge")
