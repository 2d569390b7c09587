"""The model pools of an environment: every object, against the types of the provider."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model_pool import PodGroup
from components.object_store import ObjectStoreAccess
from components.pods import POD_IDENTITY, NetworkPeer, SecretKey
from registry.names import PoolName
from serving.adapter_sync.config import AdapterSyncConfig
from serving.engine_gateway.bootstrap import INFERENCE
from stacks.config.environment import AdapterContract
from stacks.config.images import Images
from stacks.config.nodes import PoolNodes
from stacks.config.pools import ModelPool
from stacks.programs.cluster.context import Aws, Cluster
from stacks.programs.cluster.pools import PoolMetrics, PoolWiring, declare_pools, triggers
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare
from tests.stacks.pool_configs import llm, node_groups, on_cpu, pool, slm, volume_weights

IMAGES = Images(
    **{
        name: f"registry.example.com/{name}@sha256:" + f"{index:02x}" * 32
        for index, name in enumerate(Images.model_fields)
    }
)
OPERATORS = frozenset({"keda", "prometheus", "gpu"})
ROUTER = PodGroup(namespace="agentic-serving", labels={"app.kubernetes.io/name": "router"})
PROMETHEUS = PodGroup(namespace="monitoring", labels={"app": "prometheus"})
STORE = ObjectStoreAccess(
    environment={"AWS_REGION": "eu-central-1"},
    peers=(POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)),
)
CONTRACT = AdapterContract()


def wiring(nodes: Mapping[PoolName, PoolNodes], **changes: Any) -> PoolWiring:
    values: dict[str, Any] = {
        "nodes": nodes,
        "registry_uri": "s3://registry-prod",
        "evaluation_public_key": "-----BEGIN PUBLIC KEY-----",
        "clients": (ROUTER,),
        "discovery": (ROUTER,),
        "metrics": PoolMetrics(
            scrapers=(PROMETHEUS,),
            url="http://prometheus.monitoring.svc:9090",
            monitor_labels={"release": "prometheus"},
        ),
        **changes,
    }
    return PoolWiring(**values)


def cluster(
    *, store: ObjectStoreAccess = STORE, operators: frozenset[Any] = OPERATORS, on_aws: bool = True
) -> Cluster:
    account = Aws(
        provider=aws.Provider("account"),
        account="123456789012",
        region="eu-central-1",
        vpc_id=pulumi.Output.from_input("vpc-1"),
        vpc_cidr="10.0.0.0/16",
        private_subnets={},
        cluster_name=pulumi.Output.from_input("prod"),
        cluster_security_group=pulumi.Output.from_input("sg-1"),
        ready=(),
    )
    return Cluster(
        environment="prod",
        kubernetes=kubernetes.Provider("cluster"),
        aws=account if on_aws else None,
        images=IMAGES,
        operators=operators,
        api_server="10.0.0.1/32",
        object_store=store,
        tags={},
    )


def declared(
    pools: Mapping[PoolName, dict[str, Any]],
    nodes: Mapping[PoolName, PoolNodes] | None = None,
    around: Mapping[str, Any] | None = None,
    **options: Any,
) -> Program:
    groups = node_groups()
    found = nodes or {name: groups.of(name) for name in pools}
    configs: dict[PoolName, ModelPool] = {name: pool(values) for name, values in pools.items()}
    return declare(
        lambda: declare_pools(
            configs, CONTRACT, cluster(**options), wiring(found, **(around or {}))
        )
    )


@pytest.fixture(scope="module")
def program() -> Program:
    return declared({"slm": slm(replicas={"min": 1, "max": 4}), "llm": llm()})


def one(program: Program, kind: str, name: str) -> Mapping[str, Any]:
    return next(
        each.inputs
        for each in program.objects()
        if each.type.endswith(f":{kind}") and each.inputs["metadata"].get("name") == name
    )


def deployment(program: Program, name: str = "vllm-slm") -> Mapping[str, Any]:
    return one(program, "Deployment", name)["spec"]


def pod(program: Program, name: str = "vllm-slm") -> Mapping[str, Any]:
    return deployment(program, name)["template"]["spec"]


def engine(program: Program, name: str = "vllm-slm") -> Mapping[str, Any]:
    (container,) = pod(program, name)["containers"]
    return container


def argument(program: Program, flag: str, name: str = "vllm-slm") -> str | None:
    found = [each for each in engine(program, name)["command"] if each.startswith(f"{flag}=")]
    return found[0].partition("=")[2] if found else None


def test_every_object_is_one_that_kubernetes_takes(program: Program) -> None:
    for each in program.objects():
        assert "::cluster::" in each.provider
        assert each.parent in {"pipeline:serving:ModelPool", "pipeline:serving:PoolScaling"}
        kubernetes_schema.check(each.type, each.inputs)
        assert each.inputs["metadata"]["namespace"] == "agentic-serving"
    kinds = sorted(each.type.rpartition(":")[2] for each in program.objects())
    of_a_pool = [
        *("ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor"),
        *("Service", "Service", "ServiceAccount"),
    ]
    assert kinds == sorted([*of_a_pool, *of_a_pool, "ScaledObject"])
    names = [(each.type, each.name) for each in program.resources]
    assert len(set(names)) == len(names)


def test_a_pool_says_where_it_is(program: Program) -> None:
    assert program.outputs["pipeline:serving:ModelPool::prod-pool-slm"] == {
        "deployment": "vllm-slm",
        "service": "vllm-slm-svc",
        "pods_service": "vllm-slm-pods",
    }


def test_the_fields_of_the_guide_are_there(program: Program) -> None:
    spec = deployment(program)
    assert spec["replicas"] == 1
    assert spec["selector"]["matchLabels"] == {"app": "vllm-slm"}
    assert spec["template"]["metadata"]["labels"]["app"] == "vllm-slm"
    assert pod(program)["nodeSelector"]["node.kubernetes.io/instance-type"] == "g6.xlarge"
    assert pod(program)["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert engine(program)["command"][:2] == ["vllm", "serve"]
    assert engine(program)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for flag, value in (
        ("--served-model-name", "llama-8b"),
        ("--tensor-parallel-size", "1"),
        ("--max-model-len", "32768"),
    ):
        assert argument(program, flag) == value
    service = one(program, "Service", "vllm-slm-svc")["spec"]
    assert service["selector"] == {"app": "vllm-slm"}
    (port,) = service["ports"]
    assert (port["port"], port["targetPort"], port["protocol"]) == (8000, 8000, "TCP")


def test_vllm_is_on_loopback_behind_the_allowlist(program: Program) -> None:
    assert argument(program, "--host") == "127.0.0.1"
    engine_port = int(argument(program, "--port") or 0)
    assert "ports" not in engine(program)
    (config,) = (
        each.inputs["data"]
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if each.name == "prod-pool-slm"
    )
    envoy = json.loads(config["envoy.json"])["static_resources"]
    (upstream,) = envoy["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = upstream["endpoint"]["address"]["socket_address"]
    assert address == {"address": "127.0.0.1", "port_value": engine_port}
    listening = {each["address"]["socket_address"]["port_value"] for each in envoy["listeners"]}
    sidecars = {each["name"]: each for each in pod(program)["initContainers"]}
    assert {each["containerPort"] for each in sidecars["envoy"]["ports"]} == listening
    # Probes reach vLLM the way that everybody else does.
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        target = engine(program)[probe]["httpGet"]
        assert ("GET", target["path"]) in INFERENCE
        assert target["port"] in listening


def test_sidecars_are_native_and_share_the_adapters(program: Program) -> None:
    sidecars = pod(program)["initContainers"]
    assert [each["name"] for each in sidecars] == ["envoy", "adapter-sync"]
    assert {each["restartPolicy"] for each in sidecars} == {"Always"}
    mounts = {
        each["name"]: {mount["name"]: mount for mount in each["volumeMounts"]}
        for each in (*sidecars, engine(program))
    }
    written = mounts["adapter-sync"]["adapters"]
    assert mounts["vllm"]["adapters"] == {**written, "readOnly": True}
    volumes = {each["name"] for each in pod(program)["volumes"]}
    assert {name for each in mounts.values() for name in each} == volumes


def test_adapter_sync_reads_its_configuration(program: Program) -> None:
    (config,) = (
        each.inputs["data"]
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if each.name == "prod-pool-slm"
    )
    read = AdapterSyncConfig.model_validate_json(config["adapter-sync.json"])
    assert read.registry_uri == "s3://registry-prod"
    assert read.vllm_url == f"http://127.0.0.1:{argument(program, '--port')}"
    assert (read.served_base, read.pool) == ("llama-8b", "slm")
    assert str(read.evaluation_public_key).rpartition("/")[2] in config
    # The pod's own name, not that of the machine that declared it.
    assert "pod" not in json.loads(config["adapter-sync.json"])
    for flag, value in (
        ("--max-loras", read.max_loras),
        ("--max-cpu-loras", read.max_cpu_loras),
        ("--max-lora-rank", read.max_lora_rank),
    ):
        assert argument(program, flag) == str(value)


def test_pods_are_restricted_and_know_nothing_of_the_cluster(program: Program) -> None:
    for name in ("vllm-slm", "vllm-llm"):
        spec = pod(program, name)
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == name
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in (*spec["initContainers"], *spec["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "@sha256:" in container["image"]
            assert container["resources"]["requests"]["cpu"]
            assert container["resources"]["limits"]["memory"]
            assert container["startupProbe"]
            assert container["livenessProbe"]


def test_a_pod_ends_after_its_longest_stream(program: Program) -> None:
    spec = pod(program)
    drain = engine(program)["lifecycle"]["preStop"]["exec"]["command"]
    waits = [float(drain[drain.index(flag) + 1]) for flag in ("--settle", "--limit")]
    assert waits[1] == 600
    assert spec["terminationGracePeriodSeconds"] > sum(waits)
    (config,) = (
        each.inputs["data"]
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if each.name == "prod-pool-slm"
    )
    assert drain[1].rpartition("/")[2] in config
    # Envoy must not close what vLLM still computes.
    manager = json.loads(config["envoy.json"])["static_resources"]["listeners"][0]
    options = manager["filter_chains"][0]["filters"][0]["typed_config"]
    assert options["stream_idle_timeout"] == "600s"


def test_a_slow_first_load_is_survived(program: Program) -> None:
    probe = engine(program)["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 1800
    assert deployment(program)["progressDeadlineSeconds"] > 1800


def test_pods_are_spread_and_kept(program: Program) -> None:
    (spread,) = pod(program)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    budget = one(program, "PodDisruptionBudget", "vllm-slm")["spec"]
    assert budget["maxUnavailable"] == 1
    for selector in (spread["labelSelector"], budget["selector"]):
        labels = deployment(program)["template"]["metadata"]["labels"]
        assert selector["matchLabels"].items() <= labels.items()


def test_reserved_nodes_have_no_room_for_one_more(program: Program) -> None:
    update = deployment(program, "vllm-llm")["strategy"]["rollingUpdate"]
    assert (update["maxSurge"], update["maxUnavailable"]) == (0, 1)
    update = deployment(program)["strategy"]["rollingUpdate"]
    assert (update["maxSurge"], update["maxUnavailable"]) == (1, 0)


def test_only_clients_get_in_and_only_storage_is_reached(program: Program) -> None:
    spec = one(program, "NetworkPolicy", "vllm-slm")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    labels = deployment(program)["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    ingress = {
        (rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port)
        for rule in spec["ingress"]
        for port in (each["port"] for each in rule["ports"])
    }
    assert ingress == {
        ("agentic-serving", 8000),
        ("agentic-serving", 8084),
        ("monitoring", 9100),
        ("monitoring", 8084),
    }
    dns, *others = spec["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert [each["to"][0]["ipBlock"]["cidr"] for each in others] == [
        "169.254.170.23/32",
        "10.0.0.0/16",
    ]


def test_pods_are_found_by_the_names_of_their_ports(program: Program) -> None:
    spec = one(program, "Service", "vllm-slm-pods")["spec"]
    assert spec["clusterIP"] == "None"
    ports = {each["name"]: each["port"] for each in spec["ports"]}
    assert ports == {"http": 8000, "adapter-sync": 8084, "metrics": 9100}
    declared_ports = {
        each["name"]: each["containerPort"]
        for container in pod(program)["initContainers"]
        for each in container["ports"]
    }
    assert declared_ports == ports
    monitor = one(program, "PodMonitor", "vllm-slm")
    scraped = {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
    assert scraped == {"metrics", "adapter-sync"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert deployment(program)["template"]["metadata"]["labels"]["custom-model-pipeline/pool"] == (
        "slm"
    )


def test_a_server_gets_its_gpus_share_of_the_node(program: Program) -> None:
    # Of 16 GiB Kubernetes gives out 13.3 on a g6.xlarge; the sidecars have 0.75 of it.
    def mib(name: str) -> int:
        return int(engine(program, name)["resources"]["limits"]["memory"].removesuffix("Mi"))

    assert 12_000 < mib("vllm-slm") < 13_000
    assert engine(program)["resources"]["requests"]["cpu"] == "3200m"
    assert mib("vllm-llm") > 1_800_000
    # EKS keeps 550m of 192 cores for itself.
    cores = int(engine(program, "vllm-llm")["resources"]["requests"]["cpu"].removesuffix("m"))
    assert 190_000 < cores < 192_000 - 550
    shared = next(each for each in pod(program)["volumes"] if each["name"] == "shared-memory")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "1024Mi"}


def test_the_volumes_of_a_pod_are_within_what_its_containers_ask_for(program: Program) -> None:
    def gib(quantity: str) -> float:
        return float(quantity[:-2]) / {"Gi": 1, "Mi": 1024}[quantity[-2:]]

    for name in ("vllm-slm", "vllm-llm"):
        spec = pod(program, name)
        disks = [each["emptyDir"] for each in spec["volumes"] if "emptyDir" in each]
        held = sum(gib(each["sizeLimit"]) for each in disks if each.get("medium") != "Memory")
        containers = (*spec["initContainers"], *spec["containers"])
        limits = [each["resources"]["limits"]["ephemeral-storage"] for each in containers]
        assert held <= sum(map(gib, limits))


def test_several_instance_types_are_an_affinity() -> None:
    groups = node_groups(("g6.xlarge", "g6.2xlarge"))
    program = declared({"slm": slm()}, {"slm": groups.of("slm")})
    spec = pod(program)
    assert "node.kubernetes.io/instance-type" not in spec["nodeSelector"]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = required["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    assert expression["values"] == ["g6.xlarge", "g6.2xlarge"]
    assert expression["operator"] == "In"
    # The smallest of them decides what a pod asks for.
    assert engine(program)["resources"]["requests"]["cpu"] == "3200m"
    for each in program.objects():
        kubernetes_schema.check(each.type, each.inputs)


def test_weights_are_streamed_from_storage_by_a_bounded_buffer(program: Program) -> None:
    assert engine(program)["command"][2] == "s3://models-prod/base"
    assert argument(program, "--load-format") == "runai_streamer"
    loader = json.loads(argument(program, "--model-loader-extra-config") or "")
    assert loader["memory_limit"] == 2 * 2**30
    variables = {each["name"]: each.get("value") for each in engine(program)["env"]}
    assert variables["AWS_REGION"] == "eu-central-1"
    assert variables["VLLM_NO_USAGE_STATS"] == "1"


def test_a_store_of_ones_own_is_named_to_the_streamer_too() -> None:
    secrets = {"AWS_ACCESS_KEY_ID": SecretKey(secret="s3", key="id")}
    store = ObjectStoreAccess(
        environment={"AWS_ENDPOINT_URL_S3": "http://minio:9000"}, secrets=secrets
    )
    program = declared({"slm": slm()}, store=store)
    variables = {each["name"]: each for each in engine(program)["env"]}
    assert variables["AWS_ENDPOINT_URL"]["value"] == "http://minio:9000"
    reference = variables["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "s3", "key": "id"}


def test_weights_on_a_volume_are_read_only_and_need_no_storage() -> None:
    pinned = [{"name": "pinned", "path": "/models/adapters/pinned"}]
    program = declared({"slm": slm(weights=volume_weights("fp8"), lora_modules=pinned)})
    assert engine(program)["command"][2] == "/models"
    assert argument(program, "--load-format") is None
    mount = next(each for each in engine(program)["volumeMounts"] if each["name"] == "model")
    assert mount == {"name": "model", "mountPath": "/models", "readOnly": True}
    claim = next(each for each in pod(program)["volumes"] if each["name"] == "model")
    assert claim["persistentVolumeClaim"] == {"claimName": "weights", "readOnly": True}
    command = engine(program)["command"]
    module = json.loads(command[command.index("--lora-modules") + 1])
    assert module["path"] == "/models/adapters/pinned"
    assert "AWS_REGION" not in {each["name"] for each in engine(program)["env"]}


def test_pinned_adapters_alone_open_no_route_for_others() -> None:
    pinned = [{"name": "pinned", "path": "/models/adapters/pinned"}]
    values = slm(weights=volume_weights("fp8"), adapters=False, lora_modules=pinned)
    program = declared({"slm": values})
    assert "--enable-lora" in engine(program)["command"]
    variables = {each["name"] for each in engine(program)["env"]}
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in variables


def test_a_model_without_adapters_opens_no_route_for_them() -> None:
    glm = llm(model="glm5", adapters=False, weights=volume_weights("fp8"))
    nodes = {"llm": node_groups(llm="p5en.48xlarge").of("llm")}
    program = declared({"llm": glm}, nodes)
    assert "--enable-lora" not in engine(program, "vllm-llm")["command"]
    variables = {each["name"] for each in engine(program, "vllm-llm")["env"]}
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in variables


def test_without_gpu_it_has_its_own_image_and_no_gpu() -> None:
    nodes = PoolNodes(selector={}, toleration=None, instances=())
    machine = node_groups().of("system").instances[0]
    nodes = PoolNodes(selector={}, toleration=None, instances=(machine,))
    program = declared({"slm": on_cpu()}, {"slm": nodes}, on_aws=False)
    container = engine(program)
    assert container["image"].startswith("registry.example.com/vllm-cpu@")
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert "--enforce-eager" in container["command"]
    assert argument(program, "--gpu-memory-utilization") is None
    spec = pod(program)
    assert "nodeSelector" not in spec
    assert "affinity" not in spec
    for each in program.objects():
        kubernetes_schema.check(each.type, each.inputs)


def scaled(program: Program) -> Mapping[str, Any]:
    return one(program, "ScaledObject", "vllm-slm")["spec"]


def test_totals_are_averages_and_levels_are_values(program: Program) -> None:
    spec = scaled(program)
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    assert spec["scaleTargetRef"]["name"] == "vllm-slm"
    for trigger in spec["triggers"]:
        is_total = trigger["metadata"]["query"].startswith("sum(")
        assert trigger["metricType"] == ("AverageValue" if is_total else "Value")
        # Metrics that are missing must not look like no load.
        assert trigger["metadata"]["ignoreNullValues"] == "false"
    waiting, cache = (each["metadata"]["query"] for each in spec["triggers"])
    assert "vllm:num_requests_waiting{" in waiting
    assert "vllm:kv_cache_usage_perc{" in cache


def test_a_pool_that_sleeps_is_woken_by_the_router() -> None:
    program = declared({"slm": slm(scale_to_zero=True)})
    assert scaled(program)["minReplicaCount"] == 0
    assert deployment(program)["replicas"] == 0
    *load, demand = scaled(program)["triggers"]
    # Without pods there are no metrics of pods: that must be no error.
    assert {each["metadata"]["ignoreNullValues"] for each in load} == {"true"}
    query = demand["metadata"]["query"]
    assert 'router_waiting_requests{namespace="agentic-serving",pool="slm"}' in query
    # Every term must have a value of its own, or one that is missing takes the sum with it.
    assert query.count("or vector(0)") == query.count(" + ") + 1 == 3


def test_without_keda_or_prometheus_it_stays_at_its_minimum() -> None:
    values = {"slm": slm(replicas={"min": 2, "max": 4}, scale_to_zero=True)}
    for changed in (
        declared(values, operators=frozenset({"prometheus"})),
        declared(values, around={"metrics": None}),
    ):
        assert deployment(changed)["replicas"] == 2
        assert not [each for each in changed.objects() if each.type.endswith("ScaledObject")]
    without = declared(values, operators=frozenset())
    assert not [each for each in without.objects() if each.type.endswith("PodMonitor")]


def test_queries_name_one_pool_only() -> None:
    for name, other in (("slm", "llm"), ("llm", "slm")):
        for trigger in triggers(name, pool(slm(scale_to_zero=True))):
            assert f"vllm-{other}" not in trigger.query
            assert f'pool="{other}"' not in trigger.query


@given(
    parallel=st.sampled_from([1, 2, 4, 8]),
    replicas=st.integers(1, 8),
    more=st.integers(0, 8),
    sleeps=st.booleans(),
    adapters=st.booleans(),
    surge=st.booleans(),
    stream_s=st.integers(10, 3600),
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_configured_kubernetes_takes(
    parallel: int,
    replicas: int,
    more: int,
    sleeps: bool,
    adapters: bool,
    surge: bool,
    stream_s: int,
) -> None:
    values = slm(
        tensor_parallel_size=parallel,
        replicas={"min": replicas, "max": replicas + more},
        scale_to_zero=sleeps,
        adapters=adapters,
        surge=surge,
        longest_stream_s=stream_s,
    )
    nodes = {"slm": node_groups(("g6.48xlarge",)).of("slm")}
    program = declared({"slm": values}, nodes)
    for each in program.objects():
        kubernetes_schema.check(each.type, each.inputs)
    spec = pod(program)
    assert spec["terminationGracePeriodSeconds"] > stream_s
    assert engine(program)["resources"]["limits"]["nvidia.com/gpu"] == str(parallel)
    has_scaling = any(each.type.endswith("ScaledObject") for each in program.objects())
    assert has_scaling is (sleeps or more > 0)
