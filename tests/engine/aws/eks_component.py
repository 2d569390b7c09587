"""The component `eks:index:Cluster`, as pulumi-eks declares it for this project's arguments.

Arguments that it does not know are refused, so that nothing is silently left out. What differs from
pulumi-eks: it does not wait until the API server answers, it needs no AWS CLI, every child depends
on all resources that any argument comes from, and of its outputs there are those of a cluster
without nodes and add-ons of its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pulumi_eks
from pulumi.runtime.proto import provider_pb2, resource_pb2
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub

from tests.engine.aws.servicer import StandIn, registration
from tests.engine.aws.values import (
    UNKNOWN,
    Plain,
    bare,
    has_unknown,
    plain,
    resource_reference,
    struct,
)

_FIXED: Final[dict[str, Any]] = {
    "authenticationMode": "API",
    "skipDefaultNodeGroup": True,
    "skipDefaultSecurityGroups": True,
    "createOidcProvider": False,
    "useDefaultVpcCni": True,
    "corednsAddonOptions": {"enabled": False},
    "kubeProxyAddonOptions": {"enabled": False},
}
"""Arguments with the one value that the stand-in knows; another value adds or removes resources."""
_KNOWN: Final = frozenset(
    {
        *_FIXED,
        "accessEntries",
        "bootstrapSelfManagedAddons",
        "deletionProtection",
        "enabledClusterLogTypes",
        "encryptionConfigKeyArn",
        "endpointPrivateAccess",
        "endpointPublicAccess",
        "kubernetesServiceIpAddressRange",
        "name",
        "privateSubnetIds",
        "providerCredentialOpts",
        "publicAccessCidrs",
        "publicSubnetIds",
        "tags",
        "upgradePolicy",
        "version",
        "vpcId",
    }
)
_POLICY: Final = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
_IGNORED: Final = (
    "accessConfig.bootstrapClusterCreatorAdminPermissions",
    "bootstrapSelfManagedAddons",
)


@dataclass(frozen=True)
class Declared:
    """A resource that was registered."""

    urn: str
    id: str
    outputs: Plain

    def get(self, key: str) -> Any:
        """An output; what a preview does not have yet is unknown."""
        return self.outputs.get(key, UNKNOWN)

    @property
    def reference(self) -> Plain:
        """The resource as the value of a property."""
        return resource_reference(self.urn, self.id)


@dataclass(frozen=True)
class Program:
    """Registers resources as the component's program does."""

    monitor: Any
    request: Any
    arguments_from: Sequence[str] = field(default_factory=tuple)
    """URNs that the arguments come from."""

    def component(self, kind: str, name: str, parent: str) -> Declared:
        """Register a component."""
        return self._register(kind, name, parent, {}, custom=False)

    def resource(
        self, kind: str, name: str, parent: str, inputs: Plain, *after: Declared, **options: Any
    ) -> Declared:
        """Register a resource, with the provider that the component got for its package."""
        package = kind.partition(":")[0]
        provider = dict(self.request.providers).get(package, "")
        after_urns = [each.urn for each in after]
        return self._register(
            kind, name, parent, inputs, *after_urns, custom=True, provider=provider, **options
        )

    def _register(
        self, kind: str, name: str, parent: str, inputs: Plain, *after: str, **options: Any
    ) -> Declared:
        request = resource_pb2.RegisterResourceRequest(
            type=kind,
            name=name,
            parent=parent,
            object=struct(inputs),
            dependencies=[*self.arguments_from, *after],
            # As in the SDKs, what is protected protects its children.
            protect=self.request.protect,
            acceptSecrets=False,
            acceptResources=True,
            supportsPartialValues=True,
            **options,
        )
        answer = self.monitor.RegisterResource(request)
        identity = answer.id or (UNKNOWN if self.request.dryRun else "")
        return Declared(answer.urn, identity, plain(answer.object))


class EksStandIn(StandIn):
    """Constructs clusters."""

    version = pulumi_eks._utilities.get_version()  # type: ignore[no-untyped-call]
    # The engine lets no other provider construct.
    keeps_secrets = True

    def __init__(self, *, region: str, kubeconfig: Mapping[str, Any] | None = None) -> None:
        """Remember where clusters are.

        Args:
            region: Of the account.
            kubeconfig: Of the API server that stands in for the cluster's; without one, it is the
                kubeconfig of pulumi-eks, and nothing answers at its address.
        """
        self._region = region
        self._kubeconfig = kubeconfig

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = bare(plain(request.inputs))
        problem = _problem(request.type, inputs)
        if problem:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in for EKS: {problem}")
        came_from = {urn for each in request.inputDependencies.values() for urn in each.urns}
        with grpc.insecure_channel(request.monitorEndpoint) as channel:
            monitor = ResourceMonitorStub(channel)
            program = Program(monitor, request, sorted(came_from))
            component = monitor.RegisterResource(registration(request))
            outputs = self._declare(program, component.urn, request.name, inputs)
            monitor.RegisterResourceOutputs(
                resource_pb2.RegisterResourceOutputsRequest(
                    urn=component.urn, outputs=struct(outputs)
                )
            )
        cluster = outputs["eksCluster"]["urn"]
        depends = provider_pb2.ConstructResponse.PropertyDependencies(urns=[cluster])
        return provider_pb2.ConstructResponse(
            urn=component.urn,
            state=struct(outputs),
            stateDependencies=dict.fromkeys(outputs, depends),
        )

    def _declare(self, program: Program, urn: str, name: str, inputs: Plain) -> Plain:
        role, attachment = _role(program, urn, name, inputs)
        cluster = program.resource(
            "aws:eks/cluster:Cluster",
            f"{name}-eksCluster",
            urn,
            _cluster(name, inputs, role),
            role,
            attachment,
            ignoreChanges=_IGNORED,
        )
        kubeconfig = self._kubeconfig_of(cluster)
        text = UNKNOWN if has_unknown(kubeconfig) else json.dumps(kubeconfig)
        program.resource(
            "pulumi:providers:kubernetes", f"{name}-eks-k8s", urn, {"kubeconfig": text}, cluster
        )
        _access(program, urn, name, inputs, cluster)
        network = cluster.get("vpcConfig")
        group = network.get("clusterSecurityGroupId") if isinstance(network, dict) else None
        return {
            "eksCluster": cluster.reference,
            "kubeconfig": UNKNOWN if has_unknown(kubeconfig) else kubeconfig,
            "kubeconfigJson": text,
            "clusterSecurityGroupId": group or UNKNOWN,
            "instanceRoles": [],
            "nodeSecurityGroupId": "",
            "oidcIssuer": _issuer(cluster.get("identities")),
        }

    def _kubeconfig_of(self, cluster: Declared) -> Plain:
        server, authority = cluster.get("endpoint"), cluster.get("certificateAuthority")
        name = cluster.get("name")
        if self._kubeconfig is not None:
            # Known no sooner than that of the cluster.
            return {"unknown": UNKNOWN} if server == UNKNOWN else dict(self._kubeconfig)
        token = ["--region", self._region, "eks", "get-token", "--cluster-name", name]
        data = authority["data"] if isinstance(authority, dict) else UNKNOWN
        run = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws",
            "args": [*token, "--output", "json"],
        }
        at = {"server": server, "certificate-authority-data": data}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kubernetes", "cluster": at}],
            "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
            "current-context": "aws",
            "users": [{"name": "aws", "user": {"exec": run}}],
        }


def _problem(kind: str, inputs: Plain) -> str | None:
    if kind != "eks:index:Cluster":
        return f"it has no component {kind}"
    if unknown := sorted(inputs.keys() - _KNOWN):
        return f"it does not know the argument {unknown[0]}"
    for key, value in _FIXED.items():
        given = inputs.get(key)
        # How an add-on that is not declared would be is of no matter.
        same = value.items() <= given.items() if isinstance(given, dict) else given == value
        if not same:
            return f"{key} is {given!r}, it knows {value!r} alone"
    return None


def _role(program: Program, urn: str, name: str, inputs: Plain) -> tuple[Declared, Declared]:
    wanted = f"{name}-eksRole"
    parent = program.component("eks:index:ServiceRole", wanted, urn).urn
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Effect": "Allow",
                "Principal": {"Service": ["eks.amazonaws.com"]},
            }
        ],
    }
    role = program.resource(
        "aws:iam/role:Role",
        f"{wanted}-role",
        parent,
        {
            "description": "Allows EKS to manage clusters on your behalf.",
            "assumeRolePolicy": json.dumps(trust),
            "tags": inputs.get("tags"),
        },
    )
    digest = hashlib.sha1(_POLICY.encode(), usedforsecurity=False).hexdigest()[:8]
    attachment = program.resource(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        f"{wanted}-{digest}",
        parent,
        {"role": role.id, "policyArn": _POLICY},
        role,
    )
    return role, attachment


def _cluster(name: str, inputs: Plain, role: Declared) -> Plain:
    subnets = [*inputs.get("publicSubnetIds", []), *inputs.get("privateSubnetIds", [])]
    key, services = inputs.get("encryptionConfigKeyArn"), "kubernetesServiceIpAddressRange"
    return {
        "name": inputs.get("name"),
        "roleArn": role.get("arn"),
        "version": inputs.get("version"),
        "vpcConfig": {
            "subnetIds": subnets,
            "endpointPrivateAccess": inputs.get("endpointPrivateAccess"),
            "endpointPublicAccess": inputs.get("endpointPublicAccess"),
            "publicAccessCidrs": inputs.get("publicAccessCidrs"),
        },
        "kubernetesNetworkConfig": {"ipFamily": "ipv4", "serviceIpv4Cidr": inputs[services]}
        if services in inputs
        else None,
        "encryptionConfig": {"provider": {"keyArn": key}, "resources": ["secrets"]}
        if key
        else None,
        "enabledClusterLogTypes": inputs.get("enabledClusterLogTypes"),
        "accessConfig": {
            "authenticationMode": "API",
            "bootstrapClusterCreatorAdminPermissions": True,
        },
        "bootstrapSelfManagedAddons": inputs.get("bootstrapSelfManagedAddons", True),
        "deletionProtection": inputs.get("deletionProtection"),
        "upgradePolicy": inputs.get("upgradePolicy"),
        "tags": {"Name": f"{name}-eksCluster", **inputs.get("tags", {})},
    }


def _access(program: Program, urn: str, name: str, inputs: Plain, cluster: Declared) -> None:
    for entry_name, entry in inputs.get("accessEntries", {}).items():
        wanted = f"{name}-{entry_name}"
        declared = program.resource(
            "aws:eks/accessEntry:AccessEntry",
            wanted,
            urn,
            {
                "clusterName": cluster.get("name"),
                "principalArn": entry["principalArn"],
                "kubernetesGroups": entry.get("kubernetesGroups"),
                "userName": entry.get("username"),
                "type": entry.get("type"),
                "tags": entry.get("tags"),
            },
            cluster,
        )
        for policy_name, policy in entry.get("accessPolicies", {}).items():
            program.resource(
                "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
                f"{wanted}-{policy_name}",
                declared.urn,
                {
                    "clusterName": cluster.get("name"),
                    "principalArn": entry["principalArn"],
                    "policyArn": policy["policyArn"],
                    "accessScope": policy["accessScope"],
                },
                declared,
            )


def _issuer(identities: Any) -> Any:
    return identities[0]["oidcs"][0]["issuer"] if isinstance(identities, list) else UNKNOWN
