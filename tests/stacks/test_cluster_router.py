"""The router of an environment on Kubernetes: its configuration, and what is declared from it."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.pods import METRICS_PORT, PodPeer, SecretKey
from components.router_pod import DISCOVERED, LEDGER, WATCH_PORT
from serving.cluster_watch.config import ClusterWatchConfig
from serving.ledger.shipping.config import ShipperConfig
from serving.router.config import RouterConfig, Via
from serving.tracing.config import LangfuseTarget, SecretSource, TracingConfig
from stacks.config.pools import ModelPool
from stacks.config.router import RouterLimits, RouterOptions, refuse_pools_that_nobody_wakes
from tests.components import kubernetes_schema
from tests.components.declared import Program
from tests.stacks.router_program import IMAGE, pool, router_program

RBAC = "kubernetes:rbac.authorization.k8s.io/v1:"


@pytest.fixture(scope="module")
def program() -> Program:
    return router_program(RouterOptions(), operators=frozenset({"prometheus"}))


def _spec(program: Program) -> Any:
    (stateful_set,) = program.of_type("kubernetes:apps/v1:StatefulSet")
    return stateful_set.inputs["spec"]


def _containers(program: Program) -> dict[str, Any]:
    pod = _spec(program)["template"]["spec"]
    return {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}


def _files(program: Program) -> dict[str, str]:
    (config_map,) = program.of_type("kubernetes:core/v1:ConfigMap")
    files: dict[str, str] = config_map.inputs["data"]
    return files


def _policy(program: Program) -> Any:
    (policy,) = program.of_type("kubernetes:networking.k8s.io/v1:NetworkPolicy")
    return policy.inputs["spec"]


def test_every_object_is_one_that_kubernetes_takes(program: Program) -> None:
    objects = list(program.objects())
    for each in objects:
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)
    assert sorted(each.type.rpartition(":")[2] for each in objects) == [
        *("ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Role"),
        *("RoleBinding", "Service", "Service", "ServiceAccount", "StatefulSet"),
    ]


def test_every_container_is_restricted_and_bounded(program: Program) -> None:
    pod = _spec(program)["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    for container in _containers(program).values():
        assert container["image"] == IMAGE
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}
        assert resources["limits"]["memory"] == resources["requests"]["memory"]


def test_the_sidecars_end_after_the_router(program: Program) -> None:
    pod = _spec(program)["template"]["spec"]
    assert [each["name"] for each in pod["containers"]] == ["router"]
    assert {each["name"]: each["restartPolicy"] for each in pod["initContainers"]} == {
        "cluster-watch": "Always",
        "shipper": "Always",
    }
    router = RouterConfig.model_validate_json(_files(program)["router.json"])
    drained = router.limits.drain_delay_s + router.limits.drain_timeout_s
    assert router.limits.drain_timeout_s >= router.limits.request_timeout_s
    assert pod["terminationGracePeriodSeconds"] > drained


def test_probes_ask_what_each_process_answers(program: Program) -> None:
    containers = _containers(program)
    router, watch = containers["router"], containers["cluster-watch"]
    asked = {
        kind: router[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    assert asked == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert watch["startupProbe"]["httpGet"]["path"] == "/readyz"
    # An API that is away must not restart what works.
    assert watch["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert "livenessProbe" not in containers["shipper"]


def test_only_cluster_watch_has_a_token_and_only_the_router_writes_the_ledger(
    program: Program,
) -> None:
    pod = _spec(program)["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    mounts = {
        name: {each["name"]: each for each in container["volumeMounts"]}
        for name, container in _containers(program).items()
    }
    assert [name for name, own in mounts.items() if "token" in own] == ["cluster-watch"]
    assert mounts["router"]["ledger"]["readOnly"] is False
    assert mounts["shipper"]["ledger"]["readOnly"] is True
    assert "ledger" not in mounts["cluster-watch"]
    assert mounts["router"]["discovered"]["readOnly"] is True
    volumes = {each["name"] for each in pod["volumes"]} | {"ledger"}
    assert {name for own in mounts.values() for name in own} == volumes


def test_the_processes_agree_on_files_and_ports(program: Program) -> None:
    files, containers = _files(program), _containers(program)
    router = RouterConfig.model_validate_json(files["router.json"])
    watch = ClusterWatchConfig.model_validate_json(files["cluster-watch.json"])
    shipper = ShipperConfig.model_validate_json(files["shipper.json"])
    assert (watch.domains_dir, watch.pools_dir) == (router.domains_dir, router.servers_dir)
    assert shipper.ledger_dir == router.ledger_dir
    assert "writer" not in json.loads(files["shipper.json"]), "it is the pod's name"
    assert str(router.evaluation_public_key).rpartition("/")[2] in files
    assert router.pools.keys() == watch.pools.keys() == {"slm", "llm"}
    for name, listen in (("router", router.listen), ("cluster-watch", watch.listen)):
        (port,) = containers[name]["ports"]
        assert port["containerPort"] == listen.port
    for path, mount in ((router.ledger_dir, LEDGER), (watch.domains_dir, DISCOVERED)):
        assert str(path).startswith(mount)
    for name, container in containers.items():
        file = container["command"][-1].rpartition("/")[2]
        assert file == f"{name}.json"


def test_ledgers_outlive_pods_and_stateful_set(program: Program) -> None:
    spec = _spec(program)
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "20Gi"}
    mounted = {each["name"] for each in _containers(program)["router"]["volumeMounts"]}
    assert claim["metadata"]["name"] in mounted


def test_one_router_goes_at_a_time(program: Program) -> None:
    spec = _spec(program)
    assert spec["updateStrategy"]["type"] == "RollingUpdate"
    assert spec["podManagementPolicy"] == "Parallel"
    (budget,) = program.of_type("kubernetes:policy/v1:PodDisruptionBudget")
    assert budget.inputs["spec"]["maxUnavailable"] == 1
    assert budget.inputs["spec"]["selector"] == spec["selector"]
    services = {
        each.inputs["metadata"]["name"]: each.inputs["spec"]
        for each in program.of_type("kubernetes:core/v1:Service")
    }
    assert services["router"]["type"] == "ClusterIP"
    assert services[spec["serviceName"]]["clusterIP"] == "None"
    for service in services.values():
        assert service["selector"] == spec["selector"]["matchLabels"]
        assert [port["port"] for port in service["ports"]] == [8080]


def test_it_may_watch_config_maps_and_endpoints_and_nothing_else(program: Program) -> None:
    role = program.of_type(f"{RBAC}Role")[0].inputs
    assert role["metadata"]["namespace"] == "agentic-serving"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    (binding,) = program.of_type(f"{RBAC}RoleBinding")
    assert binding.inputs["roleRef"]["name"] == role["metadata"]["name"]
    account = _spec(program)["template"]["spec"]["serviceAccountName"]
    assert [each["name"] for each in binding.inputs["subjects"]] == [account]


def _ends(rules: Any, direction: str) -> set[tuple[str, int]]:
    """Namespace and labels, or network, with each port."""
    found = set()
    for rule in rules:
        for peer in rule[direction]:
            name = peer.get("ipBlock", {}).get("cidr") or ",".join(
                peer["podSelector"].get("matchLabels", {}).values()
            )
            found |= {(name, int(port["port"])) for port in rule["ports"]}
    return found


def test_requests_come_from_the_gateway_and_go_to_the_pools(program: Program) -> None:
    policy = _policy(program)
    assert _ends(policy["ingress"], "from") == {
        ("edge", 8080),
        ("prometheus", 8080),
        ("prometheus", WATCH_PORT),
    }
    assert _ends(policy["egress"], "to") == {
        ("kube-dns", 53),
        ("10.0.0.1/32", 443),
        ("10.0.0.1/32", 6443),
        *((f"vllm-{name}", port) for name in ("slm", "llm") for port in (8000, 8090)),
        ("169.254.170.23/32", 80),
        ("10.0.0.0/16", 443),
    }


def test_prometheus_finds_both_processes(program: Program) -> None:
    (monitor,) = program.of_type("kubernetes:monitoring.coreos.com/v1:PodMonitor")
    assert monitor.inputs["metadata"]["labels"]["release"] == "metrics"
    scraped = {each["port"] for each in monitor.inputs["spec"]["podMetricsEndpoints"]}
    named = {
        port["name"]: port["containerPort"]
        for container in _containers(program).values()
        for port in container.get("ports", ())
    }
    assert scraped == set(named)
    assert METRICS_PORT not in named


def test_without_the_operator_there_is_no_monitor() -> None:
    without = router_program(RouterOptions())
    assert not without.of_type("kubernetes:monitoring.coreos.com/v1:PodMonitor")
    assert _ends(_policy(without)["ingress"], "from") == {("edge", 8080)}


def test_secrets_are_named_and_only_given_to_who_needs_them() -> None:
    tracing = TracingConfig(
        target=LangfuseTarget(
            url="http://langfuse-web.langfuse.svc:3000",
            public_key=SecretSource(env="LANGFUSE_PUBLIC_KEY"),
            secret_key=SecretSource(env="LANGFUSE_SECRET_KEY"),
        ),
        environment="prod",
    )
    names = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "BIFROST_KEY_BANK")
    via = Via(url="http://bifrost:8080", provider="vllm-slm")
    made = router_program(
        RouterOptions(),
        pools={"slm": pool("slm", via=via), "llm": pool("llm")},
        tracing=tracing,
        secrets={name: SecretKey(secret="keys", key=name.lower()) for name in names},
        customer_keys={"customer-bank-A": "BIFROST_KEY_BANK"},
        egress=(PodPeer(namespace="langfuse", labels={"app": "langfuse"}, port=3000),),
    )
    from_secrets = {
        name: {each["name"] for each in container.get("env", ()) if "valueFrom" in each}
        for name, container in _containers(made).items()
    }
    assert from_secrets["router"] == {*names, "AWS_ACCESS_KEY_ID"}
    assert from_secrets["shipper"] == {"AWS_ACCESS_KEY_ID"}
    assert from_secrets["cluster-watch"] == set()
    assert ("langfuse", 3000) in _ends(_policy(made)["egress"], "to")
    router = RouterConfig.model_validate_json(_files(made)["router.json"])
    assert router.tracing == tracing
    behind = router.pools["slm"].via
    assert behind is not None
    assert behind.customer_keys == {"customer-bank-A": SecretSource(env="BIFROST_KEY_BANK")}
    assert router.pools["llm"].via is None


limits = st.builds(
    dict,
    max_body_mib=st.integers(1, 8),
    max_in_flight=st.integers(2, 512),
    longest_answer_s=st.integers(10, 7200),
    longest_wait_s=st.integers(1, 1800),
)


# A busy machine makes an example slow, not wrong.
@settings(max_examples=20, deadline=None)
@given(values=limits, replicas=st.integers(1, 32), delay=st.integers(0, 120))
def test_whatever_is_configured_pods_have_time_and_memory(
    values: dict[str, int], replicas: int, delay: int
) -> None:
    options = RouterOptions.model_validate(
        {
            "replicas": replicas,
            "drain_delay_s": delay,
            "memory_mib": 256 + 2 * values["max_in_flight"] * values["max_body_mib"],
            "limits": values | {"max_in_flight_per_domain": 1, "max_waiting": 1},
        }
    )
    made = router_program(options)
    router = RouterConfig.model_validate_json(_files(made)["router.json"])
    spec = _spec(made)
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > router.limits.drain_delay_s + router.limits.request_timeout_s
    assert spec["replicas"] == replicas
    held = router.limits.max_in_flight * router.limits.max_body_bytes / 2**20
    assert float(_memory(made).removesuffix("Mi")) > held
    less = options.model_dump() | {"memory_mib": options.memory_mib - 1}
    if less["memory_mib"] >= 256:
        with pytest.raises(ValidationError, match=f"need {options.memory_mib}: raise it"):
            RouterOptions.model_validate(less)


def _memory(program: Program) -> str:
    memory: str = _containers(program)["router"]["resources"]["limits"]["memory"]
    return memory


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 0}, "greater than or equal to 1"),
        ({"cpu": "0.5"}, "cpu"),
        ({"memory_mib": 512}, "need 1280: raise it, or lower limits.max_in_flight"),
        ({"limits": {"max_in_flight_per_domain": 300}}, r"at most max_in_flight \(256\)"),
        ({"limits": {"max_waiting": 256}}, "one cold pool stops the others"),
        ({"ledger": {"storage_class": "GP3"}}, "storage_class"),
        ({"ledger": {"size": 1}}, "size"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RouterOptions.model_validate(values)


def test_a_pool_that_sleeps_needs_requests_that_wait() -> None:
    asleep = cast("ModelPool", SimpleNamespace(scale_to_zero=True))
    awake = cast("ModelPool", SimpleNamespace(scale_to_zero=False))
    refuse_pools_that_nobody_wakes({"slm": asleep, "llm": awake}, RouterLimits())
    refuse_pools_that_nobody_wakes({"slm": awake}, RouterLimits(max_waiting=0))
    with pytest.raises(ValueError, match=r"pools.slm.scale_to_zero: nothing would wake it"):
        refuse_pools_that_nobody_wakes({"slm": asleep}, RouterLimits(max_waiting=0))
