"""A small program with every part that the stand-ins have, and a few values to change."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes

NUMBER = "210987654321"
REGION = "eu-central-1"
SECRET = "sesame-open-wide"
TAGS = {"owner": "platform"}
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }
        ],
    }
)
ALLOWED = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::small-bucket/*"}


@dataclass
class SmallProgram:
    """What there is; attributes are changed between two operations."""

    instance_type: str = "g6.xlarge"
    log_days: int = 30
    protected: bool = False
    """Whether the engine keeps the bucket."""
    keeps_cluster: bool = False
    """Whether AWS keeps the cluster."""
    has_role: bool = True

    def __call__(self) -> None:
        self.opts = pulumi.ResourceOptions(
            provider=aws.Provider("aws", region=REGION, allowed_account_ids=[NUMBER])
        )
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", tags=TAGS, opts=self.opts)
        subnets = [self._subnet(vpc, zone, number) for number, zone in enumerate("ab")]
        cluster = self._cluster(vpc, subnets)
        name = cluster.eks_cluster.apply(lambda each: each.name)
        if self.has_role:
            self._role(name)
        self._nodes(cluster, name, subnets)
        self._data()
        on_cluster = kubernetes.Provider("cluster", kubeconfig=cluster.kubeconfig_json)
        kubernetes.core.v1.ConfigMap(
            "settings",
            metadata={"name": "settings", "namespace": "default"},
            data={"days": str(self.log_days)},
            opts=pulumi.ResourceOptions(provider=on_cluster),
        )
        pulumi.export("cluster", name)

    def _subnet(self, vpc: aws.ec2.Vpc, zone: str, number: int) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"subnet-{zone}",
            vpc_id=vpc.id,
            availability_zone=f"{REGION}{zone}",
            cidr_block=f"10.0.{number}.0/24",
            opts=self.opts,
        )

    def _cluster(self, vpc: aws.ec2.Vpc, subnets: list[aws.ec2.Subnet]) -> eks.Cluster:
        return eks.Cluster(
            "small",
            eks.ClusterArgs(
                name="small",
                vpc_id=vpc.id,
                private_subnet_ids=[subnet.id for subnet in subnets],
                authentication_mode=eks.AuthenticationMode.API,
                access_entries={
                    "admins": eks.AccessEntryArgs(
                        principal_arn=f"arn:aws:iam::{NUMBER}:role/admins",
                        access_policies={
                            "admin": eks.AccessPolicyAssociationArgs(
                                policy_arn="arn:aws:eks::aws:cluster-access-policy/Admin",
                                access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(
                                    type="cluster"
                                ),
                            )
                        },
                    )
                },
                deletion_protection=self.keeps_cluster,
                skip_default_node_group=True,
                skip_default_security_groups=True,
                create_oidc_provider=False,
                use_default_vpc_cni=True,
                coredns_addon_options=eks.CoreDnsAddonOptionsArgs(enabled=False),
                kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(enabled=False),
                tags=TAGS,
            ),
            opts=pulumi.ResourceOptions(providers={"aws": self.opts.provider}),
        )

    def _role(self, cluster: pulumi.Output[str]) -> None:
        role = aws.iam.Role("router", name="router", assume_role_policy=TRUST, opts=self.opts)
        aws.iam.RolePolicy(
            "router",
            name="permissions",
            role=role.name,
            policy=json.dumps({"Version": "2012-10-17", "Statement": [ALLOWED]}),
            opts=self.opts,
        )
        aws.eks.PodIdentityAssociation(
            "router",
            cluster_name=cluster,
            namespace="default",
            service_account="router",
            role_arn=role.arn,
            opts=self.opts,
        )

    def _nodes(
        self, cluster: eks.Cluster, name: pulumi.Output[str], subnets: list[aws.ec2.Subnet]
    ) -> None:
        role = aws.iam.Role("nodes", assume_role_policy=TRUST, tags=TAGS, opts=self.opts)
        template = aws.ec2.LaunchTemplate(
            "nodes",
            name="nodes",
            update_default_version=True,
            vpc_security_group_ids=[cluster.cluster_security_group_id],
            block_device_mappings=[
                {"device_name": "/dev/xvda", "ebs": {"volume_size": 100, "encrypted": "true"}}
            ],
            tags=TAGS,
            opts=self.opts,
        )
        aws.eks.NodeGroup(
            "nodes",
            cluster_name=name,
            node_group_name_prefix="nodes-",
            node_role_arn=role.arn,
            subnet_ids=[subnet.id for subnet in subnets],
            instance_types=[self.instance_type],
            scaling_config={"min_size": 0, "max_size": 2, "desired_size": 1},
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}],
            tags=TAGS,
            opts=self.opts,
        )

    def _data(self) -> None:
        aws.cloudwatch.LogGroup(
            "logs", name="logs", retention_in_days=self.log_days, tags=TAGS, opts=self.opts
        )
        key = aws.kms.Key("key", description="of the bucket", tags=TAGS, opts=self.opts)
        kept = pulumi.ResourceOptions.merge(
            self.opts, pulumi.ResourceOptions(protect=self.protected)
        )
        bucket = aws.s3.Bucket("bucket", bucket="small-bucket", tags=TAGS, opts=kept)
        aws.s3.BucketServerSideEncryptionConfiguration(
            "bucket",
            bucket=bucket.bucket,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": key.arn,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=self.opts,
        )
        secret = aws.secretsmanager.Secret("secret", name="password", tags=TAGS, opts=self.opts)
        aws.secretsmanager.SecretVersion(
            "secret",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(SECRET),
            opts=self.opts,
        )
