"""Billing, reconciliation, reports of pods and metrics, as an environment declares them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.pods import NAME_LABEL, PodPeer
from serving.billing.config import BillingConfig
from serving.billing.prices import read_prices
from serving.exporter.config import ExporterConfig
from serving.pod_reports.config import PodReportsConfig
from serving.reconciliation.config import (
    AdapterSyncSource,
    ReconciliationConfig,
    RouterSource,
    VllmSource,
)
from stacks.config.load import ConfigError
from stacks.config.operations import OperationsConfig
from stacks.config.services import ServicesConfig
from stacks.paths import ROOT
from stacks.programs.cluster.context import OPERATIONS, SERVING
from stacks.programs.cluster.mlflow_users import login_variables
from stacks.programs.cluster.operations import (
    CountedPool,
    CountedRouter,
    OperationsWiring,
    declare_operations,
)
from stacks.programs.cluster.traces import receiver_of
from tests.components import kubernetes_schema
from tests.components.declared import Program, declare
from tests.stacks.cluster.world import ALL, IMAGES, Binder, eks

_LOGIN = login_variables("mlflow-reconciliation-1")
_MLFLOW = PodPeer(namespace=OPERATIONS, labels={NAME_LABEL: "mlflow"}, port=5000)
_CRON_JOB = "kubernetes:batch/v1:CronJob"
_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"


def _wiring(binder: Binder) -> OperationsWiring:
    services = ServicesConfig.model_validate(
        {
            "secrets": {"source": "existing"},
            "mlflow": {"database": {"kind": "sqlite"}},
            "traces": {"target": "mlflow"},
        }
    )
    return OperationsWiring(
        registry_uri="s3://pipeline-prod-registry",
        warehouse_uri="s3://pipeline-prod-usage",
        pools={
            "slm": CountedPool(
                headless_service="vllm-slm-pods",
                pods={"app": "vllm-slm"},
                metrics_port=9100,
                adapter_sync_port=8084,
                max_model_len=32768,
            ),
            "llm": CountedPool(
                headless_service="vllm-llm-pods",
                pods={"app": "vllm-llm"},
                metrics_port=9100,
                adapter_sync_port=None,
                max_model_len=65536,
            ),
        },
        router=CountedRouter(
            headless_service="router-pods", pods={NAME_LABEL: "router"}, port=8080
        ),
        request_timeout_s=900,
        traces=receiver_of(
            services,
            "prod",
            mlflow_url="http://mlflow.pipeline-operations.svc:5000",
            mlflow=_MLFLOW,
        ),
        bind=binder,
        after=(),
    )


def _run(config: dict[str, Any], operators: frozenset[Any] = ALL) -> tuple[Program, Binder]:
    binder = Binder()
    program = declare(
        lambda: declare_operations(
            OperationsConfig.model_validate(config), eks(operators), _wiring(binder)
        )
    )
    return program, binder


@pytest.fixture(scope="module")
def everything() -> tuple[Program, Binder]:
    return _run({"sample_interval_s": 45})


def _deployments(program: Program) -> dict[str, Mapping[str, Any]]:
    return {
        each.inputs["metadata"]["name"]: each.inputs["spec"]["template"]["spec"]
        for each in program.of_type(_DEPLOYMENT)
    }


def _jobs(program: Program) -> dict[str, Mapping[str, Any]]:
    return {
        each.inputs["metadata"]["name"]: each.inputs["spec"]["jobTemplate"]["spec"]["template"][
            "spec"
        ]
        for each in program.of_type(_CRON_JOB)
    }


def _config_of(program: Program, name: str) -> str:
    text: str = program.one("kubernetes:core/v1:ConfigMap", name).inputs["data"]["config.json"]
    return text


def test_everything_that_bills_and_watches_is_declared(everything: tuple[Program, Binder]) -> None:
    program, _ = everything
    assert set(_jobs(program)) == {"billing-parts", "billing-close", "billing-reconciliation"}
    assert set(_deployments(program)) == {
        "pipeline-exporter",
        "pipeline-pod-reports",
        "pipeline-sampler",
    }
    kinds = {each.type.rpartition(":")[2] for each in program.objects()}
    assert kinds >= {"PodMonitor", "PrometheusRule"}
    for each in program.objects():
        assert "::cluster::" in each.provider
        kubernetes_schema.check(each.type, each.inputs)


def test_without_a_prometheus_operator_none_of_its_kinds_is_declared() -> None:
    program, binder = _run({}, frozenset())
    assert not [each for each in program.objects() if "monitoring.coreos.com" in each.type]
    assert set(_deployments(program)) == {"pipeline-pod-reports", "pipeline-sampler"}
    assert "exporter" not in {workload for workload, _, _ in binder.bound}


def test_every_pod_has_a_role_and_runs_the_image_of_its_environment(
    everything: tuple[Program, Binder],
) -> None:
    program, binder = everything
    pods = {**_jobs(program), **_deployments(program)}
    bound = {account: (workload, namespace) for workload, namespace, account in binder.bound}
    assert set(bound) == {pod["serviceAccountName"] for pod in pods.values()}
    assert {namespace for _, namespace in bound.values()} == {OPERATIONS}
    # Who may close a month is who bills: what only counts or compares may not.
    billing = {account for account, (workload, _) in bound.items() if workload == "billing"}
    assert billing == {"billing-parts", "billing-close"}
    assert bound["billing-reconciliation"][0] == "reconciliation"
    assert bound["pipeline-sampler"][0] == "sampler"
    for name, pod in pods.items():
        (container,) = pod["containers"]
        bills = name in _jobs(program)
        assert container["image"] == (IMAGES.infra if bills else IMAGES.serving)
        plain = {each["name"] for each in container["env"] if "value" in each}
        assert "AWS_REGION" in plain


def test_billing_knows_no_domain_and_finds_its_prices(everything: tuple[Program, Binder]) -> None:
    program, _ = everything
    (files,) = (
        each.inputs["data"]
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if "billing.json" in each.inputs["data"]
    )
    billing = BillingConfig.model_validate_json(files["billing.json"])
    assert billing.customers == {}
    assert (billing.environment, billing.registry_uri) == ("prod", "s3://pipeline-prod-registry")
    assert billing.prices == Path("/etc/pipeline/prices.yaml")
    assert files["prices.yaml"] == (ROOT / "stacks" / "prices.yaml").read_text()
    caches = {
        each["name"]: each["value"]
        for pod in _jobs(program).values()
        for each in pod["containers"][0]["env"]
        if each["name"] in {"XDG_CACHE_HOME", "MPLCONFIGDIR"}
    }
    mounts = {
        each["mountPath"]
        for each in _jobs(program)["billing-close"]["containers"][0]["volumeMounts"]
    }
    assert len(caches) == 2
    assert all(any(path.startswith(mount) for mount in mounts) for path in caches.values())


def test_sampler_and_reconciliation_are_configured_alike(
    everything: tuple[Program, Binder],
) -> None:
    program, _ = everything
    sampled = ReconciliationConfig.model_validate_json(_config_of(program, "prod-pipeline-sampler"))
    (files,) = (
        each.inputs["data"]
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if "reconciliation.json" in each.inputs["data"]
    )
    assert ReconciliationConfig.model_validate_json(files["reconciliation.json"]) == sampled
    assert (sampled.interval_s, sampled.request_timeout_s) == (45, 900)
    models = {each.name: each for each in sampled.sources if isinstance(each, VllmSource)}
    assert {name: each.max_model_len for name, each in models.items()} == {
        "slm": 32768,
        "llm": 65536,
    }
    assert models["slm"].url == "http://vllm-slm-pods.agentic-serving.svc:9100"
    (probes,) = (each for each in sampled.sources if isinstance(each, AdapterSyncSource))
    assert probes.probes == "slm"
    assert [each.url for each in sampled.sources if isinstance(each, RouterSource)] == [
        "http://router-pods.agentic-serving.svc:8080"
    ]


def test_the_sampler_reaches_each_server_that_it_is_to_ask(
    everything: tuple[Program, Binder],
) -> None:
    program, _ = everything
    spec = program.one(_POLICY, "prod-pipeline-sampler").inputs["spec"]
    reached = {
        (json.dumps(peer["podSelector"]["matchLabels"]), port["port"])
        for rule in spec["egress"]
        for peer in rule["to"]
        for port in rule["ports"]
        if peer.get("namespaceSelector", {}).get("matchLabels")
        == {"kubernetes.io/metadata.name": SERVING}
    }
    assert reached == {
        ('{"app": "vllm-slm"}', 9100),
        ('{"app": "vllm-slm"}', 8084),
        ('{"app": "vllm-llm"}', 9100),
        ('{"app.kubernetes.io/name": "router"}', 8080),
    }


def test_only_the_reconciliation_logs_in_to_the_traces(
    everything: tuple[Program, Binder],
) -> None:
    program, _ = everything
    for name, pod in _jobs(program).items():
        secret = {each["name"] for each in pod["containers"][0]["env"] if "valueFrom" in each}
        assert secret == (set(_LOGIN) if name == "billing-reconciliation" else set())


def test_reports_are_of_the_pods_of_the_request_path(everything: tuple[Program, Binder]) -> None:
    program, _ = everything
    config = PodReportsConfig.model_validate_json(_config_of(program, "prod-pod-reports"))
    assert (config.namespace, config.source) == (SERVING, "prod-agentic-serving")
    spec = program.one(_POLICY, "prod-pod-reports").inputs["spec"]
    networks = {
        (peer["ipBlock"]["cidr"], rule["ports"][0]["port"])
        for rule in spec["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    }
    assert networks >= {("10.0.0.1/32", 443), ("10.0.0.1/32", 6443)}


def test_the_exporter_listens_where_prometheus_asks(everything: tuple[Program, Binder]) -> None:
    program, _ = everything
    config = ExporterConfig.model_validate_json(_config_of(program, "prod-pipeline-exporter"))
    (container,) = _deployments(program)["pipeline-exporter"]["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [config.listen.port]
    spec = program.one(_POLICY, "prod-pipeline-exporter").inputs["spec"]
    assert [each["port"] for each in spec["ingress"][0]["ports"]] == [config.listen.port]


def test_rules_and_dashboards_are_in_the_currency_of_the_prices(
    everything: tuple[Program, Binder],
) -> None:
    program, _ = everything
    boards = [
        each
        for each in program.of_type("kubernetes:core/v1:ConfigMap")
        if each.inputs["metadata"]["labels"].get("grafana_dashboard")
    ]
    assert {each.inputs["metadata"]["namespace"] for each in boards} == {"monitoring"}
    currency = read_prices(ROOT / "stacks" / "prices.yaml").currency
    assert any(currency in text for each in boards for text in each.inputs["data"].values())


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"prices": "stacks/no-prices.yaml"}, r"operations\.prices: .*no-prices\.yaml"),
        ({"gpu_weights": "stacks/none.json"}, r"operations\.gpu_weights: .*none\.json"),
        ({"gpu_weights": "stacks/prices.yaml"}, r"operations\.gpu_weights: .*prices\.yaml"),
    ],
)
def test_files_that_cannot_be_read_are_refused_at_preview(
    config: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError, match=place):
        _run(config)


def test_traces_that_cannot_be_asked_are_not_compared() -> None:
    def build() -> None:
        wiring = _wiring(Binder())
        unasked = replace(wiring, traces=replace(wiring.traces, compared=None, secrets={}))
        declare_operations(OperationsConfig(), eks(frozenset()), unasked)

    program = declare(build)
    config = ReconciliationConfig.model_validate_json(_config_of(program, "prod-pipeline-sampler"))
    assert config.traces is None
