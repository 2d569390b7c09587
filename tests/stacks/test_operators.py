"""Operators: their charts, and what they may do in AWS."""

import json

import pulumi_kubernetes as kubernetes
import pytest

from stacks.charts_lock import read_lock
from stacks.operators import Operator
from stacks.programs.cluster.aws import Naming, declare_aws
from stacks.programs.cluster.charts import Charts
from stacks.programs.cluster.operators import OperatorsArgs, declare_operators
from tests.aws_configs import ZONES, block, cluster
from tests.components.declared import Program, declare

RELEASE = "kubernetes:helm.sh/v3:Release"
CHART = "kubernetes:helm.sh/v4:Chart"
MANIFEST = "kubernetes:yaml/v2:ConfigFile"
EVERY: frozenset[Operator] = frozenset(
    {"gateway-api", "kgateway", "keda", "prometheus", "external-secrets", "gpu"}
)
DATABASES = "arn:aws:rds:eu-central-1:123456789012:db:acme-*"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:acme-*"


def declared(installed=EVERY, *, there=EVERY, in_aws=True, production=False, **nodes) -> Program:
    def build():
        naming = Naming(prefix="acme", protected=False, tags={"owner": "platform"})
        changes = {"nodes": nodes} if nodes else {}
        eks = declare_aws(cluster(**changes), naming) if in_aws else None
        args = OperatorsArgs(
            provider=eks.kubernetes if eks else kubernetes.Provider("kind", context="kind"),
            installed=frozenset(installed),
            there=frozenset(there),
            charts=Charts(production=production),
            eks=eks,
            prefix=naming.prefix,
            tags=naming.tags,
            secrets=[SECRET],
            databases=DATABASES,
        )
        declare_operators(args)

    return declare(build)


@pytest.fixture(scope="module")
def program() -> Program:
    return declared()


def charts(program):
    return {each.name: each for each in (*program.of_type(RELEASE), *program.of_type(CHART))}


def values(program, chart):
    return charts(program)[chart].inputs["values"]


def policy(program, chart):
    return json.loads(program.one("aws:iam/rolePolicy:RolePolicy", chart).inputs["policy"])


def test_a_cluster_in_aws_gets_what_it_always_needs():
    assert set(charts(declared(installed=()))) == {
        "cluster-autoscaler",
        "aws-load-balancer-controller",
        "aws-efa-k8s-device-plugin",
    }


def test_an_existing_cluster_gets_what_is_asked_for():
    assert set(charts(declared(installed={"keda", "gpu"}, in_aws=False))) == {
        "keda",
        "nvidia-device-plugin",
        "dcgm-exporter",
    }


def test_efa_needs_its_plugin_only_where_nodes_have_it():
    assert "aws-efa-k8s-device-plugin" not in charts(declared(installed=(), slm={}))


def test_charts_come_from_the_lock_with_a_version(program):
    for each in charts(program).values():
        assert each.inputs["version"], each.name
        is_oci = each.inputs["chart"].startswith("oci://")
        assert is_oci != ("repositoryOpts" in each.inputs), each.name


def test_crds_of_the_gateway_api_come_from_a_file_of_the_lock(program):
    (crds,) = program.of_type(MANIFEST)
    assert crds.inputs["file"].startswith("https://github.com/kubernetes-sigs/gateway-api/")


def test_the_lock_has_the_charts_of_operators_and_services_and_no_other(program):
    services = {"langfuse", "clickhouse-operator", "cert-manager"}
    operators = {*charts(program), *(each.name for each in program.of_type(MANIFEST))}
    assert set(read_lock()) == operators | services


def test_production_refuses_charts_without_digest():
    with pytest.raises(ValueError, match="no digest, which production needs"):
        declared(production=True)


def test_each_chart_is_installed_as_the_lock_says(program):
    assert {"kube-prometheus-stack", "aws-load-balancer-controller"} == {
        each.name for each in program.of_type(RELEASE)
    }


def test_each_namespace_is_made_once_and_has_a_pod_security_standard(program):
    namespaces = program.of_type("kubernetes:core/v1:Namespace")
    names = [each.inputs["metadata"]["name"] for each in namespaces]
    assert len(names) == len(set(names))
    for each in namespaces:
        assert "pod-security.kubernetes.io/enforce" in each.inputs["metadata"]["labels"]
    used = {each.inputs["namespace"] for each in charts(program).values()}
    assert used - set(names) == {"kube-system"}


def test_the_autoscaler_leaves_blocks_and_fixed_groups_alone(program):
    groups = values(program, "cluster-autoscaler")["autoscalingGroups"]
    assert [(each["name"], each["minSize"], each["maxSize"]) for each in groups] == [
        ("eks-nodes-system", 3, 6),
        ("eks-nodes-slm", 0, 4),
        ("eks-nodes-training", 0, 2),
    ]


def test_the_autoscaler_resizes_groups_without_reservation():
    capacity = {"kind": "on-demand", "min": 0, "max": 2}
    program = declared(installed=(), llm={"zone": ZONES[0], "capacity": capacity})
    groups = values(program, "cluster-autoscaler")["autoscalingGroups"]
    assert {"name": "eks-nodes-llm", "minSize": 0, "maxSize": 2} in groups


def test_the_autoscaler_changes_groups_of_this_cluster_alone(program):
    for statement in policy(program, "cluster-autoscaler")["Statement"]:
        writes = [a for a in statement["Action"] if "Describe" not in a and "Get" not in a]
        condition = statement.get("Condition", {}).get("StringEquals", {})
        assert not writes or condition == {"aws:ResourceTag/eks:cluster-name": "acme"}


def test_external_secrets_reads_secrets_of_this_environment_alone(program):
    for statement in policy(program, "external-secrets")["Statement"]:
        assert all(action.startswith("secretsmanager:") for action in statement["Action"])
        tags = statement.get("Condition", {}).get("StringLike", {})
        assert statement["Resource"] == [SECRET] or DATABASES in tags.values()


def test_the_load_balancer_controller_deletes_what_it_made_alone(program):
    for statement in policy(program, "aws-load-balancer-controller")["Statement"]:
        actions = statement["Action"]
        if "elasticloadbalancing:DeleteLoadBalancer" in actions or (
            "ec2:DeleteSecurityGroup" in actions
        ):
            condition = statement["Condition"]["StringEquals"]
            assert condition == {"aws:ResourceTag/elbv2.k8s.aws/cluster": "acme"}


def test_a_role_is_that_of_the_account_in_the_values(program):
    named = {
        "external-secrets": lambda v: v["serviceAccount"]["name"],
        "cluster-autoscaler": lambda v: v["rbac"]["serviceAccount"]["name"],
        "aws-load-balancer-controller": lambda v: v["serviceAccount"]["name"],
    }
    for chart, account in named.items():
        association = program.one("aws:eks/podIdentityAssociation:PodIdentityAssociation", chart)
        assert association.inputs["serviceAccount"] == account(values(program, chart))
        assert association.inputs["namespace"] == charts(program)[chart].inputs["namespace"]


def test_nothing_in_aws_is_declared_for_an_existing_cluster():
    program = declared(in_aws=False)
    assert not [each for each in program.resources if each.type.startswith(("aws:", "eks:"))]


def test_gpus_are_monitored_where_prometheus_is():
    for there in ({"gpu"}, {"gpu", "prometheus"}):
        program = declared(installed={"gpu"}, there=there, in_aws=False)
        monitor = values(program, "dcgm-exporter")["serviceMonitor"]
        assert monitor == {"enabled": "prometheus" in there}


def test_plugins_of_gpus_tolerate_the_taint_of_their_nodes(program):
    plugins = ("nvidia-device-plugin", "dcgm-exporter", "aws-efa-k8s-device-plugin")
    for plugin in plugins:
        (toleration,) = values(program, plugin)["tolerations"]
        assert toleration["key"] == "nvidia.com/gpu"
        assert "value" not in toleration


def test_prometheus_takes_every_monitor_and_rule(program):
    spec = values(program, "kube-prometheus-stack")["prometheus"]["prometheusSpec"]
    kinds = ("podMonitor", "serviceMonitor", "rule")
    assert all(spec[f"{kind}SelectorNilUsesHelmValues"] is False for kind in kinds)


def test_no_chart_is_given_a_password(program):
    for chart, each in charts(program).items():
        assert "password" not in json.dumps(each.inputs).lower(), chart


def test_a_block_that_grows_gets_its_plugin():
    assert "aws-efa-k8s-device-plugin" in charts(declared(installed=(), llm=block(desired=0)))
