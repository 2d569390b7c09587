"""What must hold for everything that a stack declares, whatever its configuration.

Each rule gives what breaks it, one line each, so that a test shows all of it at once.
"""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from pulumi.runtime import rpc
from pulumi_kubernetes import helm

from tests.components import kubernetes_schema
from tests.components.declared import KUBERNETES, Declared, Program

_WORKLOADS: Final = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
_BUNDLES: Final = ("helm.sh/", "yaml/")
"""Several objects at once, which only their chart or file knows."""
_DIGEST: Final = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABELS_ONLY: Final = {"Service": 63, "Namespace": 63, "StatefulSet": 52, "CronJob": 52}
"""Longest names where they become labels or parts of names; others may have 253 characters.

The hash of a StatefulSet's revision, of up to 11 characters, is appended for a label of its pods,
and eleven characters to a CronJob's name for its Jobs.
"""
# Longest names in AWS, by type and input: from the API reference of each service.
_LIMITS: Final = {
    ("aws:iam/role:Role", "name"): 64,
    ("aws:iam/policy:Policy", "name"): 128,
    ("aws:s3/bucket:Bucket", "bucket"): 63,
    ("aws:rds/instance:Instance", "identifier"): 63,
    ("aws:rds/subnetGroup:SubnetGroup", "name"): 255,
    ("aws:rds/parameterGroup:ParameterGroup", "name"): 255,
    ("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId"): 40,
    ("aws:elasticache/subnetGroup:SubnetGroup", "name"): 255,
    ("aws:elasticache/parameterGroup:ParameterGroup", "name"): 255,
    ("aws:eks/nodeGroup:NodeGroup", "nodeGroupName"): 63,
    ("aws:ec2/launchTemplate:LaunchTemplate", "name"): 128,
    ("aws:ec2/placementGroup:PlacementGroup", "name"): 255,
    ("aws:ec2/securityGroup:SecurityGroup", "name"): 255,
    ("aws:kms/alias:Alias", "name"): 256,
    ("aws:secretsmanager/secret:Secret", "name"): 512,
    ("aws:sqs/queue:Queue", "name"): 80,
    ("aws:cloudwatch/eventRule:EventRule", "name"): 64,
    ("eks:index:Cluster", "name"): 100,
}


@dataclass(frozen=True)
class Pod:
    """A pod template."""

    owner: Declared
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def place(self) -> str:
        """What messages call it."""
        return " ".join(identity(self.owner))

    @property
    def namespace(self) -> str:
        """Of its owner."""
        return str(self.owner.inputs["metadata"]["namespace"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the pod."""
        labels: Mapping[str, str] = self.metadata.get("labels", {})
        return labels

    @property
    def account(self) -> str | None:
        """Its ServiceAccount."""
        return self.spec.get("serviceAccountName")

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """All, sidecars and those that run before others too."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def has_token(self) -> bool:
        """Whether a container may find a token for the API of the cluster."""
        projected = [
            source
            for volume in self.spec.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
        ]
        mounted = any("serviceAccountToken" in source for source in projected)
        return mounted or self.spec.get("automountServiceAccountToken", True)


def kind_of(declared: Declared) -> str:
    """The kind of an object."""
    return declared.type.rpartition(":")[2].removesuffix("Patch")


def objects(program: Program) -> list[Declared]:
    """Every single object of Kubernetes."""
    return [
        each
        for each in program.objects()
        if not each.type.removeprefix(KUBERNETES).startswith(_BUNDLES)
    ]


def pods(program: Program) -> list[Pod]:
    """Every pod template."""
    found = []
    for each in objects(program):
        if kind_of(each) in _WORKLOADS:
            spec = each.inputs["spec"]
            spec = spec["jobTemplate"]["spec"] if kind_of(each) == "CronJob" else spec
            template = spec["template"]
            found.append(Pod(each, template.get("metadata", {}), template["spec"]))
    return found


def shared_names(program: Program) -> list[str]:
    """Names that two resources, two objects, or two things in AWS have."""
    # The engine tells resources apart by type, name, and types of what they are in.
    names = Counter((each.parent, each.type, each.name) for each in program.resources)
    placed = Counter(map(identity, objects(program)))
    in_aws = Counter(
        (each.type, each.inputs[key])
        for each in program.resources
        for type_, key in _LIMITS
        if each.type == type_ and key in each.inputs
    )
    return [
        str(name)
        for counted in (names, placed, in_aws)
        for name, count in counted.items()
        if count > 1
    ]


def identity(declared: Declared) -> tuple[str, str, str]:
    """Kind, namespace and name of an object; one without a name is given one by Pulumi."""
    metadata = declared.inputs["metadata"]
    name = metadata.get("name", f"{declared.name}-0a1b2c3d")
    return kind_of(declared), metadata.get("namespace", ""), name


def long_names(program: Program) -> list[str]:
    """Names that Kubernetes or AWS refuses."""
    found = []
    for each in objects(program):
        kind, _, name = identity(each)
        limit = _LABELS_ONLY.get(kind, 253)
        pattern = _LABEL if kind in _LABELS_ONLY else _SUBDOMAIN
        # Names of roles and their bindings are parts of paths.
        if kind.startswith(("Role", "ClusterRole")):
            pattern = re.compile(r"[^/%]+")
        if len(name) > limit or not pattern.fullmatch(name):
            found.append(f"{kind} {name}: {len(name)} characters, at most {limit}")
    for each in program.resources:
        for (type_, key), limit in _LIMITS.items():
            name = each.inputs.get(key) if each.type == type_ else None
            if isinstance(name, str) and len(name) > limit:
                found.append(f"{each.type} {name}: {len(name)} characters, at most {limit}")
    return found


def untagged(program: Program, tags: Mapping[str, str]) -> list[str]:
    """What is in AWS, could have tags, and lacks some of these."""
    found = []
    for each in program.resources:
        if each.type.startswith("aws:") and _takes_tags(each.type):
            has = each.inputs.get("tags", {})
            missing = {key: value for key, value in tags.items() if has.get(key) != value}
            if missing:
                found.append(f"{each.type} {each.name} lacks {missing}")
    return found


def _takes_tags(type_: str) -> bool:
    module, name = type_.split(":")[1].partition("/")[0], type_.rpartition(":")[2]
    cls = getattr(import_module(f"pulumi_aws.{module}"), name)
    return "tags" in inspect.signature(cls._internal_init).parameters


def unbounded(program: Program) -> list[str]:
    """Containers without requests and limits, or whose memory is not really theirs."""
    found = []
    for pod in pods(program):
        for container in pod.containers:
            resources = container.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            lacks = [
                *({"cpu", "memory", "ephemeral-storage"} - set(requests)),
                *({"memory", "ephemeral-storage"} - set(limits)),
            ]
            if lacks or requests["memory"] != limits["memory"]:
                found.append(f"{pod.place}, {container['name']}: {lacks or resources}")
    return found


def unprobed(program: Program) -> list[str]:
    """Services whose readiness nobody asks for. What listens nowhere cannot be asked."""
    found = []
    for pod in pods(program):
        serving = [container for container in pod.containers if container.get("ports")]
        # A sidecar that others wait for is ready when its startup probe says so.
        found += [
            f"{pod.place}, {container['name']}: {sorted(container)}"
            for container in serving
            if not {"readinessProbe", "startupProbe"} & set(container)
        ]
        if serving and not any("readinessProbe" in container for container in pod.containers):
            found.append(f"{pod.place}: no container says when the pod is ready")
    return found


def privileged(program: Program) -> list[str]:
    """Pods that the `restricted` pod security standard refuses, or that may write their image."""
    found = []
    for pod in pods(program):
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            found.append(f"{pod.place}: may run as root")
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            found.append(f"{pod.place}: seccomp is {context.get('seccompProfile')}")
        shared = {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        hosts = [v["name"] for v in pod.spec.get("volumes", []) if "hostPath" in v]
        if shared or hosts:
            found.append(f"{pod.place}: {sorted(shared) + hosts} of its node")
        for container in pod.containers:
            own = container.get("securityContext", {})
            wanted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            if {key: own.get(key) for key in wanted} != wanted or own.get("privileged"):
                found.append(f"{pod.place}, {container['name']}: {own}")
    return found


def wrong_accounts(program: Program) -> list[str]:
    """Pods without a ServiceAccount of their own, or with a token that no Role is for."""
    made = {identity(each)[1:] for each in objects(program) if kind_of(each) == "ServiceAccount"}
    bound = {
        (subject.get("namespace"), subject["name"])
        for each in objects(program)
        if kind_of(each) in {"RoleBinding", "ClusterRoleBinding"}
        for subject in each.inputs["subjects"]
    }
    found, taken = [], Counter((pod.namespace, pod.account) for pod in pods(program))
    for pod in pods(program):
        account = (pod.namespace, pod.account)
        if account not in made:
            found.append(f"{pod.place}: {pod.account} is not declared")
        if taken[account] > 1:
            found.append(f"{pod.place}: {pod.account} is of other pods too")
        if pod.has_token != (account in bound):
            found.append(f"{pod.place}: token {pod.has_token}, roles {account in bound}")
    return found + [
        f"ServiceAccount {each.name}: every pod of it gets a token"
        for each in objects(program)
        if kind_of(each) == "ServiceAccount" and each.inputs.get("automountServiceAccountToken")
    ]


def unguarded(program: Program) -> list[str]:
    """Pods that no NetworkPolicy of their own selects, and namespaces that refuse nothing."""
    policies = [each for each in objects(program) if kind_of(each) == "NetworkPolicy"]
    found = []
    for pod in pods(program):
        here = [p for p in policies if p.inputs["metadata"]["namespace"] == pod.namespace]
        both = [p for p in here if set(p.inputs["spec"]["policyTypes"]) == {"Ingress", "Egress"}]
        if not any(_selector(policy) == {} for policy in both):
            found.append(f"{pod.namespace}: no policy refuses what is not named")
        if not any(_selector(p) and _selects(_selector(p), pod.labels) for p in both):
            found.append(f"{pod.place}: no policy of its own")
    return found + [
        f"NetworkPolicy {policy.name}: the whole internet"
        for policy in policies
        for rule in policy.inputs["spec"].get("egress", [])
        for peer in rule.get("to", [{}])
        if not peer or peer.get("ipBlock", {}).get("cidr") in {"0.0.0.0/0", "::/0"}
    ]


def _selector(policy: Declared) -> Mapping[str, str]:
    labels: Mapping[str, str] = policy.inputs["spec"]["podSelector"].get("matchLabels", {})
    return labels


def _selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def movable_images(program: Program) -> list[str]:
    """Images that a tag names, which can be moved to other code."""
    return [
        f"{pod.place}: {container['image']}"
        for pod in pods(program)
        for container in pod.containers
        if not _DIGEST.fullmatch(container["image"])
    ]


def leaked(value: Any, secrets: Mapping[str, str], place: str = "") -> Iterator[str]:
    """Where one of these secrets stands in plain text."""
    if isinstance(value, Mapping):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return
        for key, each in value.items():
            yield from leaked(each, secrets, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from leaked(each, secrets, f"{place}[{index}]")
    elif isinstance(value, str):
        yield from (f"{place}: {name}" for name, secret in secrets.items() if secret in value)


def leaks(program: Program, secrets: Mapping[str, str]) -> list[str]:
    """Inputs and outputs that show one of these secrets, and Secrets with plain values."""
    given = {f"{each.type} {each.name}": each.inputs for each in program.resources}
    found = [*leaked(given, secrets), *leaked(program.outputs, secrets)]
    for each in program.of_type("kubernetes:core/v1:Secret"):
        for key in ("data", "stringData"):
            values = each.inputs.get(key, {})
            if rpc._special_sig_key not in values and any(
                not isinstance(value, Mapping) for value in values.values()
            ):
                found.append(f"Secret {each.name}: {key} is plain")
    return found


def malformed(program: Program) -> list[str]:
    """Objects that the types of the provider refuse."""
    found = []
    for each in program.objects():
        try:
            if each.type.startswith(f"{KUBERNETES}helm.sh/v4"):
                kubernetes_schema._check_fields(helm.v4.ChartArgs, each.inputs, each.name)
            elif not each.type.startswith(f"{KUBERNETES}yaml/"):
                kubernetes_schema.check(each.type, each.inputs)
        except (AssertionError, ImportError, AttributeError, KeyError) as error:
            found.append(f"{each.type} {each.name}: {error!r}")
    return found
