"""Who may assume a role."""

from collections.abc import Iterable
from typing import Any

from stacks.policies.names import Account


def pods_of(account: Account, cluster: str, namespace: str, service_account: str) -> dict[str, Any]:
    """Trust in EKS Pod Identity, for the pods of one ServiceAccount of one cluster.

    EKS says in session tags which pod it assumes the role for. Without these conditions whoever may
    create an association, on any cluster of the account, could give the role to any pod. The tag
    with the cluster's ARN stands where `aws:SourceArn` would: that EKS sets the latter for Pod
    Identity is documented nowhere, and a condition on a key that is not there locks every pod out.
    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    statement = {
        "Sid": "PodsOfOneServiceAccount",
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:SourceAccount": account.account,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": service_account,
                "aws:RequestTag/eks-cluster-arn": account.cluster_arn(cluster),
            }
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def roles(arns: Iterable[str]) -> dict[str, Any]:
    """Trust in these roles."""
    statement = {
        "Sid": "NamedRoles",
        "Effect": "Allow",
        "Principal": {"AWS": sorted(arns)},
        "Action": ["sts:AssumeRole"],
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
