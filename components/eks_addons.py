"""Add-ons of EKS: what every node and pod of a cluster relies on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes import meta, storage

from components.pods import labels_of
from components.role import RoleArgs
from components.workload_identity import WorkloadIdentity, WorkloadIdentityArgs

_NAMESPACE: Final = "kube-system"
_CNI: Final = "vpc-cni"
_EBS: Final = "aws-ebs-csi-driver"
_NODE_ADDONS: Final = ("eks-pod-identity-agent", _CNI, "kube-proxy")
_POD_ADDONS: Final = ("coredns", _EBS, "metrics-server")
_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {_CNI: {"enableNetworkPolicy": "true"}}
_ACCOUNTS: Final = {_CNI: "aws-node", _EBS: "ebs-csi-controller-sa"}
"""ServiceAccounts that need a role."""
_POLICIES: Final = {
    _CNI: "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
    _EBS: "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy",
}
STORAGE_CLASS: Final = "encrypted-gp3"
"""The cluster's default."""


@dataclass(frozen=True, kw_only=True)
class EksAddonsArgs:
    """The cluster and the versions."""

    provider: aws.Provider
    prefix: str
    cluster: pulumi.Input[str]
    role_path: str
    """Path of the roles of add-ons."""
    trust_of: Callable[[str, str], pulumi.Input[Mapping[str, Any]]]
    """Trust policy in the pods of a ServiceAccount, by its namespace and name."""
    tags: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    """By add-on; of others AWS takes its default."""


class NodeAddons(pulumi.ComponentResource):
    """What a node needs to become ready: pod network with policies, proxy, Pod Identity."""

    def __init__(
        self, name: str, args: EksAddonsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The cluster.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:NodeAddons", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        self.addons = _addons(name, _NODE_ADDONS, args, child)
        self.register_outputs({})


@dataclass(frozen=True, kw_only=True)
class PodAddonsArgs:
    """The cluster, and its API."""

    addons: EksAddonsArgs
    kubernetes: kubernetes.Provider


class PodAddons(pulumi.ComponentResource):
    """What runs on nodes: DNS, volumes on EBS with an encrypted default class, metrics."""

    def __init__(
        self, name: str, args: PodAddonsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The cluster.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:PodAddons", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.addons.provider)
        self.addons = _addons(name, _POD_ADDONS, args.addons, child)
        self.storage_class = storage.v1.StorageClass(
            name,
            metadata=meta.v1.ObjectMetaArgs(
                name=STORAGE_CLASS,
                labels=labels_of(STORAGE_CLASS),
                annotations={"storageclass.kubernetes.io/is-default-class": "true"},
            ),
            provisioner="ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true"},
            allow_volume_expansion=True,
            # A volume lies in one zone: that of the pod.
            volume_binding_mode="WaitForFirstConsumer",
            opts=pulumi.ResourceOptions(parent=self, provider=args.kubernetes),
        )
        self.register_outputs({"storage_class": STORAGE_CLASS})


def _addons(
    name: str, addons: tuple[str, ...], args: EksAddonsArgs, opts: pulumi.ResourceOptions
) -> tuple[aws.eks.Addon, ...]:
    return tuple(_addon(name, addon, args, opts) for addon in addons)


def _addon(
    name: str, addon: str, args: EksAddonsArgs, opts: pulumi.ResourceOptions
) -> aws.eks.Addon:
    role = _role(name, addon, args, opts) if addon in _ACCOUNTS else None
    settings = _SETTINGS.get(addon)
    return aws.eks.Addon(
        f"{name}-{addon}",
        cluster_name=args.cluster,
        addon_name=addon,
        addon_version=args.versions.get(addon),
        configuration_values=json.dumps(settings) if settings else None,
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        tags={**args.tags, "Name": f"{args.prefix}-{addon}"},
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(depends_on=list(role.ready) if role else [])
        ),
    )


def _role(
    name: str, addon: str, args: EksAddonsArgs, opts: pulumi.ResourceOptions
) -> WorkloadIdentity:
    account = _ACCOUNTS[addon]
    return WorkloadIdentity(
        f"{name}-{addon}",
        WorkloadIdentityArgs(
            role=RoleArgs(
                provider=args.provider,
                role=f"{args.prefix}-{addon}",
                path=args.role_path,
                trust=args.trust_of(_NAMESPACE, account),
                managed_policies=[_POLICIES[addon]],
                tags=args.tags,
            ),
            cluster=args.cluster,
            namespace=_NAMESPACE,
            service_account=account,
        ),
        pulumi.ResourceOptions(parent=opts.parent),
    )
