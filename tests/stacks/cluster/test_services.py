"""MLflow, Langfuse, their databases and secrets, as an environment declares them."""

import configparser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from pulumi.runtime.rpc import is_rpc_secret

from components.charts import ChartSource
from components.pods import NetworkPeer
from serving.mlflow_users.config import MlflowUsersConfig
from stacks.config.load import ConfigError
from stacks.config.services import ServicesConfig
from stacks.programs.cluster.context import LANGFUSE, OPERATIONS, SERVING, TRAINING, Cluster
from stacks.programs.cluster.namespaces import declare_namespaces
from stacks.programs.cluster.services import Services, declare_services
from stacks.programs.cluster.stores import ServiceStores
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare, password, revealed
from tests.stacks.cluster.world import DIGEST, KEY, STORES, Binder, Engine, eks, existing

_EXTERNAL_SECRET = "kubernetes:external-secrets.io/v1:ExternalSecret"
_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_RDS = "aws:rds/instance:Instance"
_VALKEY = "aws:elasticache/replicationGroup:ReplicationGroup"
_RELEASE = "kubernetes:helm.sh/v3:Release"
TOKEN = "a-token-that-nobody-may-see"

LANGFUSE_ON_AWS: dict[str, Any] = {
    "target": "langfuse",
    "url": "https://langfuse.example.com",
    "web_image": f"docker.example.com/langfuse/web{DIGEST}",
    "worker_image": f"docker.example.com/langfuse/worker{DIGEST}",
    "user_email": "platform@example.com",
    "database": {"kind": "rds"},
    "cache": {"kind": "elasticache"},
    "clickhouse": {"kind": "operator"},
}
ON_AWS: dict[str, Any] = {
    "secrets": {"source": "secrets-manager", "prefix": "pipeline/prod"},
    "mlflow": {"database": {"kind": "rds"}, "replicas": 2},
    "traces": LANGFUSE_ON_AWS,
}
SMALL: dict[str, Any] = {
    "secrets": {"source": "existing"},
    "mlflow": {"database": {"kind": "sqlite", "size_gib": 2}},
    "traces": {"target": "mlflow"},
}
MANAGER = {
    "pipeline/prod/mlflow": {},
    "pipeline/prod/langfuse": {},
    "pipeline/prod/langfuse-valkey": {"password": TOKEN},
}
IN_CLUSTER = {
    f"{OPERATIONS}/mlflow": ("username", "password", "flask-secret-key"),
}


def _chart(name: str) -> ChartSource:
    return ChartSource(
        chart=name,
        version="1.2.3",
        repository="https://charts.example.com",
        kind="release",
    )


def _run(
    config: dict[str, Any],
    engine: Engine,
    cluster: Callable[[], Cluster] = eks,
    stores: ServiceStores = STORES,
) -> tuple[Program, Services, Binder]:
    found: list[Services] = []
    binder = Binder()

    def build() -> None:
        place, services = cluster(), ServicesConfig.model_validate(config)
        ready = declare_namespaces(services, place).ready
        found.append(
            declare_services(services, place, stores, bind=binder, charts=_chart, after=ready)
        )

    program = declare(build, engine=engine)
    return program, found[0], binder


@pytest.fixture(scope="module")
def on_aws() -> tuple[Program, Services, Binder]:
    return _run(ON_AWS, Engine(MANAGER))


@pytest.fixture(scope="module")
def small() -> tuple[Program, Services, Binder]:
    stores = ServiceStores(prefix="pipeline-test", kms_key=None, mlflow_artifacts=None)
    return _run(SMALL, Engine(cluster=IN_CLUSTER), existing, stores)


def _strings(value: Any) -> list[str]:
    """Every text that is no secret."""
    if is_rpc_secret(value):
        return []
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Every Secret, and key in it, that values of the chart name."""
    if isinstance(value, Mapping):
        if "secretKeyRef" in value:
            yield value["secretKeyRef"]["name"], value["secretKeyRef"]["key"]
        if "existingSecret" in value:
            keys = [value.get(name) for name in ("existingSecretKey", "existingSecretPasswordKey")]
            keys.append(value.get("secretKeys", {}).get("userPasswordKey"))
            yield from ((value["existingSecret"], key) for key in keys if key)
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _mlflow(program: Program) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The pod, and its server."""
    (deployment,) = program.of_type(_DEPLOYMENT)
    pod = deployment.inputs["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    return pod, server


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("world", ["on_aws", "small"])
def test_every_object_is_one_that_kubernetes_takes(
    world: str, request: pytest.FixtureRequest
) -> None:
    program, _, _ = request.getfixturevalue(world)
    objects = list(program.objects())
    assert objects
    for each in objects:
        assert each.parent.startswith("pipeline:")
        assert "::cluster::" in each.provider
        inputs = dict(each.inputs)
        if "stringData" in inputs:
            inputs["stringData"] = revealed(inputs["stringData"])
        kubernetes_schema.check(each.type, inputs)


def test_what_is_in_the_account_is_named_tagged_and_provided(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, _, _ = on_aws
    resources = [each for each in program.resources if each.type.startswith("aws:")]
    assert len(resources) == 2 * 6 + 5
    for each in resources:
        assert "::account::" in each.provider
        assert each.name.startswith("pipeline-prod-")
        if each.type != "aws:secretsmanager/secretRotation:SecretRotation":
            assert each.inputs["tags"] == {"environment": "prod"}, each.type


def test_databases_are_encrypted_inside_and_let_in_only_the_nodes(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, _, _ = on_aws
    for each in program.of_type(_RDS):
        inputs = each.inputs
        assert (inputs["storageEncrypted"], inputs["kmsKeyId"]) == (True, KEY)
        assert inputs["publiclyAccessible"] is False
        assert inputs["manageMasterUserPassword"] is True
        assert not {"password", "passwordWo"} & set(inputs)
        assert (inputs["multiAz"], inputs["deletionProtection"]) == (True, True)
    (cache,) = program.of_type(_VALKEY)
    assert (cache.inputs["transitEncryptionEnabled"], cache.inputs["kmsKeyId"]) == (True, KEY)
    assert len(cache.inputs["replicationGroupId"]) <= 40
    rules = program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    assert {each.inputs["referencedSecurityGroupId"] for each in rules} == {"sg-nodes"}
    assert not any("cidrIpv4" in each.inputs for each in rules)
    for group in program.of_type("aws:rds/parameterGroup:ParameterGroup"):
        (parameter,) = group.inputs["parameters"]
        assert (parameter["name"], parameter["value"]) == ("rds.force_ssl", "1")
    (kept,) = program.of_type("aws:elasticache/parameterGroup:ParameterGroup")
    assert kept.inputs["parameters"] == [{"name": "maxmemory-policy", "value": "noeviction"}]


def test_the_token_of_the_cache_is_in_no_plain_input(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, _, _ = on_aws
    assert not [each.name for each in program.resources if TOKEN in _strings(each.inputs)]
    (cache,) = program.of_type(_VALKEY)
    assert is_rpc_secret(cache.inputs["authToken"])


def test_only_the_token_is_read_at_preview(on_aws: tuple[Program, Services, Binder]) -> None:
    del on_aws
    engine = Engine(MANAGER)
    _run(ON_AWS, engine)
    assert engine.read == ["pipeline/prod/langfuse-valkey"]


def _external(program: Program) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {
        (each.inputs["metadata"]["namespace"], each.inputs["metadata"]["name"]): each.inputs["spec"]
        for each in program.of_type(_EXTERNAL_SECRET)
    }


def test_external_secrets_bring_each_reader_what_it_reads(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, services, _ = on_aws
    found = _external(program)
    assert set(found) == set(services.ready)
    keys = {place: {each["secretKey"] for each in spec["data"]} for place, spec in found.items()}
    assert keys[OPERATIONS, "mlflow"] == {"username", "password", "flask-secret-key"}
    assert {place for place in keys if place[1] == "mlflow"} == {(OPERATIONS, "mlflow")}
    # Routers and reconciliation have the keys of the project, and nothing else of Langfuse.
    project = {"project-public-key", "project-secret-key"}
    assert keys[SERVING, "langfuse"] == keys[OPERATIONS, "langfuse"] == project
    assert keys[LANGFUSE, "langfuse"] > project
    for spec in found.values():
        assert spec["secretStoreRef"]["name"] == "pipeline-prod"
    (store,) = program.of_type("kubernetes:external-secrets.io/v1:ClusterSecretStore")
    (allowed,) = store.inputs["spec"]["conditions"]
    assert set(allowed["namespaces"]) == {namespace for namespace, _ in found}


def test_every_secret_that_a_pod_reads_comes_from_somewhere(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, services, _ = on_aws
    found = _external(program)
    (deployment,) = program.of_type(_DEPLOYMENT)
    pod = deployment.inputs["spec"]["template"]["spec"]
    read = {
        (OPERATIONS, entry["valueFrom"]["secretKeyRef"]["name"])
        for container in [*pod["containers"], *pod["initContainers"]]
        for entry in container["env"]
        if "valueFrom" in entry
    }
    read |= {
        (OPERATIONS, volume["secret"]["secretName"])
        for volume in pod["volumes"]
        if "secret" in volume
    }
    read |= {(SERVING, key.secret) for key in services.traces.secrets.values()}
    release = program.one(_RELEASE, "prod-langfuse")
    references = set(_references(release.inputs["values"]))
    for secret, key in references:
        keys = {each["secretKey"] for each in found[LANGFUSE, secret]["data"]}
        assert key in keys
    assert {secret for secret, _ in references} == {
        "langfuse",
        "langfuse-postgres",
        "langfuse-valkey",
    }
    assert read <= set(found)


def test_the_service_file_says_how_to_log_in_and_holds_no_password(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, _, _ = on_aws
    spec = _external(program)[OPERATIONS, "mlflow-postgres"]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(spec["target"]["template"]["data"]["pg_service.conf"])
    assert dict(parser["mlflow"]) == {
        "host": "pipeline-prod-mlflow.rds.test",
        "dbname": "mlflow",
        "user": "{{ .username }}",
        "password": "{{ .password }}",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/rds/global-bundle.pem",
    }
    assert {each["remoteRef"]["key"] for each in spec["data"]} == {"arn:rds:pipeline-prod-mlflow"}


@pytest.mark.parametrize("world", ["on_aws", "small"])
def test_mlflow_is_restricted_probed_and_closed(world: str, request: pytest.FixtureRequest) -> None:
    program, services, _ = request.getfixturevalue(world)
    pod, server = _mlflow(program)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (upgrade,) = pod["initContainers"]
    for container in (upgrade, server):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]["memory"] == "2Gi"
        assert _environment(container)["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert upgrade["command"][:3] == ["mlflow", "db", "upgrade"]
    assert (
        upgrade["command"][3]
        == server["command"][server["command"].index("--backend-store-uri") + 1]
    )
    assert {
        server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    } == {"/health"}
    host = urlsplit(services.mlflow_url).netloc
    assert host in _environment(server)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in _environment(server)["MLFLOW_SERVER_ALLOWED_HOSTS"]
    (config,) = (each for each in program.of_type(_CONFIG_MAP) if "auth.ini" in each.inputs["data"])
    assert "default_permission = NO_PERMISSIONS" in config.inputs["data"]["auth.ini"]
    secret = {each["name"] for each in server["env"] if "valueFrom" in each}
    assert secret >= {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}


def test_mlflow_on_postgres_is_kept_available(on_aws: tuple[Program, Services, Binder]) -> None:
    program, _, binder = on_aws
    (deployment,) = program.of_type(_DEPLOYMENT)
    assert deployment.inputs["spec"]["replicas"] == 2
    (budget,) = program.of_type("kubernetes:policy/v1:PodDisruptionBudget")
    labels = deployment.inputs["spec"]["template"]["metadata"]["labels"]
    assert budget.inputs["spec"]["selector"]["matchLabels"].items() <= labels.items()
    _, server = _mlflow(program)
    assert STORES.mlflow_artifacts in server["command"]
    account = deployment.inputs["spec"]["template"]["spec"]["serviceAccountName"]
    assert binder.bound == [("mlflow", OPERATIONS, account), ("langfuse", LANGFUSE, "langfuse")]


def test_mlflow_on_a_volume_has_one_pod_at_a_time(small: tuple[Program, Services, Binder]) -> None:
    program, _, _ = small
    (deployment,) = program.of_type(_DEPLOYMENT)
    spec = deployment.inputs["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (claim,) = program.of_type("kubernetes:core/v1:PersistentVolumeClaim")
    volumes = {each["name"]: each for each in spec["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim.inputs["metadata"]["name"]
    assert not program.of_type("kubernetes:policy/v1:PodDisruptionBudget")
    assert not [each for each in program.resources if each.type.startswith("aws:")]


def _egress(program: Program, name: str) -> set[tuple[str, int]]:
    """Networks and ports that a policy lets pods reach."""
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in program.one(_POLICY, name).inputs["spec"]["egress"]
        for peer in rule["to"]
        for port in rule.get("ports", [])
        if "ipBlock" in peer
    }


def test_pods_reach_their_databases_and_their_storage_and_no_other_network(
    on_aws: tuple[Program, Services, Binder], small: tuple[Program, Services, Binder]
) -> None:
    identity, storage = ("169.254.170.23/32", 80), ("10.0.0.0/16", 443)
    postgres, valkey = ("10.0.0.0/16", 5432), ("10.0.0.0/16", 6379)
    assert _egress(on_aws[0], "prod-mlflow") == {identity, storage, postgres}
    assert _egress(on_aws[0], "prod-langfuse") == {identity, storage, postgres, valkey}
    assert _egress(small[0], "prod-mlflow") == {("10.1.0.9/32", 9000)}


def test_namespaces_refuse_what_no_policy_names(
    on_aws: tuple[Program, Services, Binder], small: tuple[Program, Services, Binder]
) -> None:
    for program, kind, names in (
        (on_aws[0], "Namespace", {SERVING, OPERATIONS, TRAINING, LANGFUSE}),
        (small[0], "NamespacePatch", {SERVING, OPERATIONS, TRAINING}),
    ):
        objects = program.of_type(f"kubernetes:core/v1:{kind}")
        # Those of operators come with their charts.
        made = {
            each.inputs["metadata"]["name"]: each
            for each in objects
            if each.parent == "pipeline:kubernetes:Namespaces"
        }
        assert set(made) == names
        for name, each in made.items():
            enforced = each.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            assert enforced == ("baseline" if name == LANGFUSE else "restricted")
            policy = program.one(_POLICY, f"{name}-default").inputs["spec"]
            assert policy["podSelector"] == {}
            assert policy["ingress"] == []
            ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
            assert ports == {53}


def test_langfuse_makes_up_no_secret_and_reports_to_nobody(
    on_aws: tuple[Program, Services, Binder],
) -> None:
    program, _, _ = on_aws
    release = program.one(_RELEASE, "prod-langfuse")
    values = release.inputs["values"]
    langfuse = values["langfuse"]
    assert langfuse["features"] == {"telemetryEnabled": False, "signUpDisabled": True}
    for pinned in (langfuse["salt"], langfuse["encryptionKey"], langfuse["nextauth"]["secret"]):
        assert pinned["secretKeyRef"]["name"] == "langfuse"
    assert [values[store]["deploy"] for store in ("postgresql", "redis", "s3")] == [False] * 3
    assert (values["s3"]["bucket"], values["s3"]["endpoint"]) == ("pipeline-prod-traces", "")
    web = langfuse["web"]["image"]
    assert f"{web['repository']}:{web['tag']}" == f"docker.example.com/langfuse/web:4.4.0{DIGEST}"
    assert values["clickhouse"]["keeper"]["replicas"] == 3
    first = {each["name"] for each in langfuse["web"]["pod"]["additionalEnv"]}
    assert first >= {"LANGFUSE_INIT_PROJECT_PUBLIC_KEY", "LANGFUSE_INIT_USER_PASSWORD"}
    # Chart 2.0.0 cannot be upgraded over the empty Secret that it makes when all is pinned.
    (patch,) = program.of_type("kubernetes:core/v1:SecretPatch")
    assert patch.inputs["metadata"]["name"] == "langfuse-app"


def test_the_router_and_the_reconciliation_are_told_the_same_receiver(
    on_aws: tuple[Program, Services, Binder], small: tuple[Program, Services, Binder]
) -> None:
    for _, services, _ in (on_aws, small):
        traces = services.traces
        assert traces.compared is not None
        assert traces.tracing.target.kind == traces.compared.kind
        assert traces.tracing.target.url == traces.compared.url
        assert traces.tracing.environment == "prod"
    for login in (small[1].traces.secrets, small[1].traces.reading):
        assert set(login) == {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    assert set(on_aws[1].traces.secrets) == {"LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"}


def test_routers_may_write_traces_and_the_reconciliation_may_read_them(
    small: tuple[Program, Services, Binder],
) -> None:
    program, services, _ = small
    (told,) = (
        each.inputs["data"]["users.json"]
        for each in program.of_type(_CONFIG_MAP)
        if "users.json" in each.inputs["data"]
    )
    users = {each.name: each for each in MlflowUsersConfig.model_validate_json(told).users}
    assert {name: (user.permission, user.experiment) for name, user in users.items()} == {
        "pipeline-router": ("EDIT", "inference"),
        "pipeline-reconciliation": ("READ", "inference"),
    }
    held = {
        (each.inputs["metadata"]["namespace"], each.inputs["metadata"]["name"]): revealed(
            each.inputs["stringData"]
        )
        for each in program.of_type("kubernetes:core/v1:Secret")
        if "stringData" in each.inputs
    }
    for namespace, name, login in (
        (SERVING, "pipeline-router", services.traces.secrets),
        (OPERATIONS, "pipeline-reconciliation", services.traces.reading),
    ):
        (secret,) = {each.secret for each in login.values()}
        assert held[namespace, secret] == {"username": name, "password": password(name, 1)}
    # What is in a component waits with it: here, for the server.
    component = program.one("pipeline:services:MlflowUsers", "mlflow-traces")
    assert "kubernetes:apps/v1:Deployment::prod-mlflow" in component.after


def test_the_login_of_the_administrator_is_in_no_other_namespace(
    on_aws: tuple[Program, Services, Binder], small: tuple[Program, Services, Binder]
) -> None:
    for program, services, _ in (on_aws, small):
        assert {place for place in services.ready if place[1] == "mlflow"} == {
            (OPERATIONS, "mlflow")
        }
        policy = program.one(_POLICY, "prod-mlflow-users").inputs["spec"]
        ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
        assert (policy["ingress"], ports) == ([], {53, 5000})


def test_another_receiver_is_reached_where_its_address_says() -> None:
    traces = {
        "target": "otlp",
        "endpoint": "http://collector.observability.svc:4318/v1/traces",
        "networks": ["10.2.0.0/16"],
    }
    _, services, _ = _run({**SMALL, "traces": traces}, Engine(cluster=IN_CLUSTER), existing)
    (peer,) = services.traces.peers
    assert isinstance(peer, NetworkPeer)
    assert (peer.cidr, peer.port, services.traces.compared) == ("10.2.0.0/16", 4318, None)


@pytest.mark.parametrize("missing", list(MANAGER))
def test_a_secret_that_secrets_manager_lacks_is_refused_at_preview(missing: str) -> None:
    engine = Engine({name: value for name, value in MANAGER.items() if name != missing})
    with pytest.raises(ConfigError, match=rf"^services\..*secret.*{missing}.*create-secret"):
        _run(ON_AWS, engine)


@pytest.mark.parametrize("place", list(IN_CLUSTER))
def test_a_key_that_a_secret_of_the_cluster_lacks_is_refused_at_preview(place: str) -> None:
    engine = Engine(cluster={**IN_CLUSTER, place: IN_CLUSTER[place][1:]})
    namespace = place.partition("/")[0]
    with pytest.raises(
        Exception, match=rf"services\.mlflow\.secret: .* namespace {namespace} has no key username"
    ):
        _run(SMALL, engine, existing)


@pytest.mark.parametrize("place", list(IN_CLUSTER))
def test_a_secret_that_the_cluster_lacks_is_refused_at_preview(place: str) -> None:
    engine = Engine(cluster={key: value for key, value in IN_CLUSTER.items() if key != place})
    with pytest.raises(Exception, match=rf"resource '{place}' does not exist"):
        _run(SMALL, engine, existing)


def test_a_cache_whose_token_is_not_as_expected_is_refused() -> None:
    engine = Engine({**MANAGER, "pipeline/prod/langfuse-valkey": {"token": "x"}})
    with pytest.raises(Exception, match=r"services\.traces\.cache\.secret: .* key password"):
        _run(ON_AWS, engine)


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [("s3://traces", "events/"), ("s3://traces/prod/langfuse", "prod/langfuse/events/")],
)
def test_langfuse_keeps_its_events_where_it_is_told(uri: str, prefix: str) -> None:
    program, _, _ = _run(ON_AWS, Engine(MANAGER), stores=replace(STORES, traces_uri=uri))
    store = program.one(_RELEASE, "prod-langfuse").inputs["values"]["s3"]
    assert (store["bucket"], store["eventUpload"]["prefix"]) == ("traces", prefix)


def test_langfuse_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"storage\.traces_uri: is missing"):
        _run(ON_AWS, Engine(MANAGER), stores=replace(STORES, traces_uri=None))


def test_what_only_aws_has_is_refused_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"need cluster\.kind eks"):
        _run(ON_AWS, Engine(MANAGER), existing)
