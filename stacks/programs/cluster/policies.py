"""What operators may do in AWS."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Statement = Mapping[str, Any]

_BALANCER_TAG: Final = "elbv2.k8s.aws/cluster"
"""Tag of everything that the load balancer controller makes; its value is the cluster."""
_NAMES: Final = "k8s-"
"""How the controller begins the names of load balancers."""


def read_secrets(arns: Sequence[str], databases: str) -> tuple[Statement, ...]:
    """Of External Secrets.

    Args:
        arns: Secrets of the environment.
        databases: Pattern of the ARNs of its databases. RDS names the secrets of their passwords
            itself, so their tag tells them from those of others.
    """
    actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    of_database = {"StringLike": {"aws:ResourceTag/aws:rds:primaryDBInstanceArn": databases}}
    return (
        {"Effect": "Allow", "Action": actions, "Resource": list(arns)},
        {"Effect": "Allow", "Action": actions, "Resource": "*", "Condition": of_database},
    )


def resize_groups(cluster: str) -> tuple[Statement, ...]:
    """Of the Cluster Autoscaler: groups of this cluster alone.

    Source: kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/README.md.
    """
    return (
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:DescribeAutoScalingGroups",
                "autoscaling:DescribeAutoScalingInstances",
                "autoscaling:DescribeLaunchConfigurations",
                "autoscaling:DescribeScalingActivities",
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplateVersions",
                "ec2:GetInstanceTypesFromInstanceRequirements",
                "eks:DescribeNodegroup",
            ],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:SetDesiredCapacity",
                "autoscaling:TerminateInstanceInAutoScalingGroup",
            ],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/eks:cluster-name": cluster}},
        },
    )


def balance_load(cluster: str) -> tuple[Statement, ...]:
    """Of the AWS Load Balancer Controller, for network load balancers: what it made itself.

    Source: kubernetes-sigs/aws-load-balancer-controller, docs/install/iam_policy.json, without
    what application load balancers need (WAF, Shield, Cognito, certificates).
    """
    made_here = {"StringEquals": {f"aws:ResourceTag/{_BALANCER_TAG}": cluster}}
    makes = {"StringEquals": {f"aws:RequestTag/{_BALANCER_TAG}": cluster}}
    return (
        {
            "Effect": "Allow",
            "Action": ["ec2:Describe*", "ec2:GetSecurityGroupsForVpc"],
            "Resource": "*",
        },
        {"Effect": "Allow", "Action": "elasticloadbalancing:Describe*", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": "*",
            "Condition": {
                "StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}
            },
        },
        {
            "Effect": "Allow",
            "Action": [
                "elasticloadbalancing:CreateLoadBalancer",
                "elasticloadbalancing:CreateTargetGroup",
            ],
            "Resource": "*",
            "Condition": makes,
        },
        {
            "Effect": "Allow",
            "Action": "elasticloadbalancing:AddTags",
            "Resource": "*",
            "Condition": {
                "StringEquals": {
                    "elasticloadbalancing:CreateAction": ["CreateTargetGroup", "CreateLoadBalancer"]
                }
            },
        },
        {
            "Effect": "Allow",
            "Action": [
                "elasticloadbalancing:AddTags",
                "elasticloadbalancing:RemoveTags",
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:SetIpAddressType",
                "elasticloadbalancing:SetSecurityGroups",
                "elasticloadbalancing:SetSubnets",
                "elasticloadbalancing:DeleteLoadBalancer",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:RegisterTargets",
                "elasticloadbalancing:DeregisterTargets",
            ],
            "Resource": "*",
            "Condition": made_here,
        },
        {
            # A new listener has no tags yet that a condition could ask for.
            "Effect": "Allow",
            "Action": [
                "elasticloadbalancing:CreateListener",
                "elasticloadbalancing:DeleteListener",
                "elasticloadbalancing:ModifyListener",
                "elasticloadbalancing:ModifyListenerAttributes",
                "elasticloadbalancing:AddTags",
                "elasticloadbalancing:RemoveTags",
            ],
            "Resource": [
                "arn:aws:elasticloadbalancing:*:*:listener/net/*",
                f"arn:aws:elasticloadbalancing:*:*:loadbalancer/net/{_NAMES}*",
            ],
        },
        {"Effect": "Allow", "Action": "ec2:CreateSecurityGroup", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": "arn:aws:ec2:*:*:security-group/*",
            "Condition": {
                "StringEquals": {
                    "ec2:CreateAction": "CreateSecurityGroup",
                    f"aws:RequestTag/{_BALANCER_TAG}": cluster,
                }
            },
        },
        {
            "Effect": "Allow",
            "Action": [
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:RevokeSecurityGroupIngress",
                "ec2:DeleteSecurityGroup",
            ],
            "Resource": "*",
            "Condition": made_here,
        },
        {
            # The group of the nodes lets the load balancer in; EKS tags it with its cluster.
            "Effect": "Allow",
            "Action": ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
            "Resource": "arn:aws:ec2:*:*:security-group/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/aws:eks:cluster-name": cluster}},
        },
    )
