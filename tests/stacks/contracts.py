"""What environments say of themselves, for tests that need no environment."""

from stacks.contract import ContextAccess, KubernetesPlace, ObjectStorePlace, TrainingNodes

DIGEST = "sha256:" + "0" * 64


def cluster_place() -> KubernetesPlace:
    """An environment on a cluster that exists."""
    return KubernetesPlace(
        access=ContextAccess(context="kind-pipeline"),
        training_namespace="pipeline-training",
        operations_namespace="pipeline-operations",
        infra_image=f"example.org/infra@{DIGEST}",
        train_image=f"example.org/train@{DIGEST}",
        object_store=ObjectStorePlace(
            environment={"AWS_ENDPOINT_URL_S3": "http://10.0.0.9:9000"},
            secret="object-store",
            networks={"10.0.0.0/16": 9000},
        ),
        requests_per_second=None,
        burst=None,
        training=TrainingNodes(labels={}, gpus=0, vcpu=4, ram_gib=16, price="on-demand"),
        mlflow_secret="mlflow",
        evaluation_secret="evaluation-key",
        evaluation_public_key="-----BEGIN PUBLIC KEY-----\n",
        aws=None,
    )
