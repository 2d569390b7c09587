"""Object storage of an environment: where everything is, and who may do what there."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.object_store import ObjectStoreAccess
from stacks.config.storage import BucketStorage, ExistingStorage
from stacks.policies.names import Account
from stacks.programs.cluster.context import Cluster, Workload


@dataclass(frozen=True, kw_only=True)
class Keys:
    """ARNs of the keys in KMS."""

    storage: pulumi.Output[str]
    """That objects are encrypted with."""
    signing: pulumi.Output[str]
    """That verdicts are signed with."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What others need of it."""

    registry_uri: str
    warehouse_uri: str
    artifacts_uri: str
    """Of MLflow."""
    models_uri: str
    datasets_uri: str
    traces_uri: str | None
    """Of Langfuse; None where there is no place for it."""
    access: ObjectStoreAccess
    """How pods reach it: environment variables, Secret keys, networks."""
    evaluation_key: pulumi.Input[str]
    """What signs verdicts, as `registry.signing.open_signer` takes it."""
    evaluation_public_key: pulumi.Input[str]
    """PEM that verdicts are verified with."""
    keys: Keys | None
    """None on a cluster that exists already."""
    account: Account | None
    """Names of buckets and roles; None on a cluster that exists already."""
    _cluster: Cluster

    def bind(
        self, workloads: Sequence[Workload], *, namespace: str, service_account: str
    ) -> tuple[pulumi.Resource, ...]:
        """Give the pods of a ServiceAccount what these workloads need in AWS.

        Call it once for each ServiceAccount, with everything that runs in its pods, such as vLLM
        and adapter-sync. On a cluster that exists already nothing is declared.

        Returns:
            What the pods must not start before: EKS gives credentials to none that runs already.
        """
        raise NotImplementedError


def declare_storage(
    config: BucketStorage | ExistingStorage, cluster: Cluster, *, prefix: str
) -> Storage:
    """Declare buckets, keys and the roles of people; on an existing cluster, name what is there.

    Args:
        config: Of the environment.
        cluster: Where its pods run.
        prefix: Of every name in the account.

    Raises:
        ValueError: Buckets are wanted where there is no AWS account.
    """
    raise NotImplementedError
