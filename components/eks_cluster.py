"""The control plane of an environment."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes

_ADMIN: Final = "AmazonEKSClusterAdminPolicy"
_VIEW: Final = "AmazonEKSViewPolicy"
"""Reads everything but Secrets, in all namespaces."""
_DAYS_BEFORE_KEY_DELETION: Final = 30
_LOG_DAYS: Final = 365


@dataclass(frozen=True, kw_only=True)
class EksClusterArgs:
    """Where the control plane is and who reaches it."""

    provider: aws.Provider
    prefix: str
    """Of the names of everything; the cluster has it as its name."""
    version: str
    vpc_id: pulumi.Input[str]
    private_subnets: Sequence[pulumi.Input[str]]
    public_subnets: Sequence[pulumi.Input[str]]
    service_cidr: str
    public_access_cidrs: Sequence[str]
    """Networks that reach the public endpoint; without any, there is none."""
    api_clients: Sequence[str]
    """Networks that reach the endpoint inside the VPC."""
    admins: Sequence[str]
    """ARNs of IAM roles that administer the cluster."""
    viewers: Sequence[str]
    """ARNs of IAM roles that read everything in it but Secrets."""
    log_types: Sequence[str]
    protected: bool
    """Whether AWS and Pulumi refuse to delete it."""
    tags: Mapping[str, str]


class EksCluster(pulumi.ComponentResource):
    """Control plane with access entries, encrypted Secrets and logs; no nodes, no add-ons."""

    name: pulumi.Output[str]
    security_group: pulumi.Output[str]
    """Of the control plane and the nodes."""
    kubernetes: kubernetes.Provider
    kubeconfig: pulumi.Output[str]
    """JSON; whoever uses it needs an identity of their own in AWS."""
    endpoint: pulumi.Output[str]
    certificate_authority: pulumi.Output[str]
    """Base64 of the PEM."""
    control_plane: pulumi.Resource

    def __init__(
        self, name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The cluster.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:EksCluster", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        key = _key(name, args, child)
        cluster = eks.Cluster(
            name,
            _settings(args, key),
            pulumi.ResourceOptions(
                parent=self,
                providers={"aws": args.provider},
                protect=args.protected,
                # EKS writes to this group, and would make one that is kept for ever.
                depends_on=[_logs(name, args, child)],
            ),
        )
        self.control_plane = cluster
        self.security_group = cluster.cluster_security_group_id
        # Known before, but nothing may be given it before the cluster is there.
        self.name = self.security_group.apply(lambda _: args.prefix)
        access = pulumi.Output.unsecret(cluster.kubeconfig_json).apply(_address)
        self.endpoint = access["server"]
        self.certificate_authority = access["certificate-authority-data"]
        for client in args.api_clients:
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-api-{client}",
                security_group_id=self.security_group,
                description="Clients of the Kubernetes API",
                cidr_ipv4=client,
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                tags={**args.tags, "Name": f"{args.prefix}-api"},
                opts=child,
            )
        self.kubeconfig = cluster.kubeconfig_json
        self.kubernetes = kubernetes.Provider(
            name,
            kubeconfig=self.kubeconfig,
            enable_server_side_apply=True,
            # A cluster that is gone took its objects along.
            delete_unreachable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"name": self.name})


def _address(kubeconfig: str) -> dict[str, str]:
    address: dict[str, str] = json.loads(kubeconfig)["clusters"][0]["cluster"]
    return address


def _settings(args: EksClusterArgs, key: aws.kms.Key) -> eks.ClusterArgs:
    return eks.ClusterArgs(
        name=args.prefix,
        version=args.version,
        vpc_id=args.vpc_id,
        private_subnet_ids=list(args.private_subnets),
        public_subnet_ids=list(args.public_subnets),
        kubernetes_service_ip_address_range=args.service_cidr,
        endpoint_private_access=True,
        endpoint_public_access=bool(args.public_access_cidrs),
        public_access_cidrs=list(args.public_access_cidrs) or None,
        authentication_mode=eks.AuthenticationMode.API,
        access_entries={
            _entry_name(arn): _entry(arn, policy, args.tags)
            for policy, arns in ((_ADMIN, args.admins), (_VIEW, args.viewers))
            for arn in arns
        },
        encryption_config_key_arn=key.arn,
        enabled_cluster_log_types=list(args.log_types),
        deletion_protection=args.protected,
        # Extended support costs six times as much: an upgrade is a decision, not a surprise.
        upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
        skip_default_node_group=True,
        skip_default_security_groups=True,
        # Pods have roles by Pod Identity.
        create_oidc_provider=False,
        # Add-ons are resources of their own.
        bootstrap_self_managed_addons=False,
        use_default_vpc_cni=True,
        coredns_addon_options=eks.CoreDnsAddonOptionsArgs(enabled=False),
        kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(enabled=False),
        tags=dict(args.tags),
    )


def _entry_name(arn: str) -> str:
    _, _, _, _, account, role = arn.split(":", 5)
    return f"{account}-{role.removeprefix('role/').replace('/', '-')}"


def _entry(arn: str, policy: str, tags: Mapping[str, str]) -> eks.AccessEntryArgs:
    partition = arn.split(":")[1]
    return eks.AccessEntryArgs(
        principal_arn=arn,
        tags=dict(tags),
        access_policies={
            "admin" if policy == _ADMIN else "view": eks.AccessPolicyAssociationArgs(
                policy_arn=f"arn:{partition}:eks::aws:cluster-access-policy/{policy}",
                access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            )
        },
    )


def _logs(name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions) -> aws.cloudwatch.LogGroup:
    return aws.cloudwatch.LogGroup(
        name,
        name=f"/aws/eks/{args.prefix}/cluster",
        retention_in_days=_LOG_DAYS,
        tags=dict(args.tags),
        opts=opts,
    )


def _key(name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions) -> aws.kms.Key:
    """The key that Kubernetes Secrets are encrypted with in etcd."""
    key = aws.kms.Key(
        name,
        description=f"Kubernetes Secrets of {args.prefix}",
        enable_key_rotation=True,
        deletion_window_in_days=_DAYS_BEFORE_KEY_DELETION,
        tags={**args.tags, "Name": f"{args.prefix}-secrets"},
        # Without its key a cluster cannot be read again.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=args.protected)),
    )
    aws.kms.Alias(name, name=f"alias/{args.prefix}-secrets", target_key_id=key.key_id, opts=opts)
    return key
