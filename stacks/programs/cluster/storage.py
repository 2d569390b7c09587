"""Object storage of an environment: where everything is, and who may do what there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, get_args

import pulumi
import pulumi_aws as aws

from components.bucket import Expiry
from components.pods import SecretKey
from components.storage import BucketPlan, ObjectStorage, StorageArgs
from registry.signing import KMS_SCHEME
from stacks.config.storage import BucketStorage, ExistingStorage
from stacks.policies.buckets import access_log_policy, bucket_policy
from stacks.policies.keys import signing_key_policy, storage_key_policy
from stacks.policies.names import Account, Purpose
from stacks.programs.cluster.context import Aws, Cluster, Workload
from stacks.programs.cluster.identities import Identities

EVALUATION_KEY_FILE: Final = "evaluation.pem"
"""Key in the Secret that holds the private key of verdicts, where no KMS does."""
EVALUATION_KEYS: Final = "/etc/evaluation"
"""Where evaluation jobs find that Secret."""
_MUTABLE: Final[dict[Purpose, tuple[str, ...]]] = {
    "registry": ("runs/",),
    "warehouse": ("shipped/", "writers/", "pods/", "parts/"),
    "models": ("",),
    "artifacts": ("",),
    "traces": ("",),
}
"""Prefixes whose superseded versions nobody looks at. Pointers and money keep theirs for ever."""


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
    evaluation_key: pulumi.Input[str]
    """What signs verdicts, as `registry.signing.open_signer` takes it."""
    evaluation_secret: SecretKey | None
    """In the namespace of jobs, mounted at EVALUATION_KEYS; None where KMS signs."""
    evaluation_public_key: pulumi.Input[str]
    """PEM that verdicts are verified with."""
    identities: Identities | None
    """Roles in AWS; None on a cluster that exists already."""

    def bind(
        self, workloads: Sequence[Workload], *, namespace: str, service_account: str
    ) -> tuple[pulumi.Resource, ...]:
        """Give the pods of a ServiceAccount what these workloads need in AWS.

        Call it once for each ServiceAccount, with everything that runs in its pods, such as vLLM
        and adapter-sync. On a cluster that exists already nothing is declared.

        Returns:
            What the pods must not start before: EKS gives credentials to none that runs already.
        """
        if self.identities is None:
            return ()
        identity = self.identities.of_workloads(
            workloads, namespace=namespace, service_account=service_account
        )
        return identity.ready


def declare_storage(
    config: BucketStorage | ExistingStorage, cluster: Cluster, *, prefix: str
) -> Storage:
    """Declare buckets, keys and the roles of people; on an existing cluster, name what is there.

    Args:
        config: Of the environment.
        cluster: Where its pods run.
        prefix: Of every name in the account.

    Raises:
        ValueError: Buckets are wanted where there is no AWS account, or the other way round, or the
            prefix is too long.
    """
    if isinstance(config, ExistingStorage):
        if cluster.aws is not None:
            raise ValueError("storage.kind is existing: on an EKS cluster it must be buckets")
        return _existing(config)
    if cluster.aws is None:
        raise ValueError("storage.kind is buckets: on a cluster that exists it must be existing")
    return _in_account(config, cluster, cluster.aws, prefix)


def _existing(config: ExistingStorage) -> Storage:
    return Storage(
        registry_uri=config.registry_uri,
        warehouse_uri=config.warehouse_uri,
        artifacts_uri=config.artifacts_uri,
        models_uri=config.models_uri,
        datasets_uri=config.datasets_uri,
        traces_uri=config.traces_uri,
        evaluation_key=f"{EVALUATION_KEYS}/{EVALUATION_KEY_FILE}",
        evaluation_secret=SecretKey(secret=config.verdicts.secret, key=EVALUATION_KEY_FILE),
        evaluation_public_key=config.verdicts.public_key,
        identities=None,
    )


def _in_account(config: BucketStorage, cluster: Cluster, place: Aws, prefix: str) -> Storage:
    account = Account(account=place.account, region=place.region, prefix=prefix)
    storage = _buckets(config, cluster, place, account)
    key = storage.signing_key.arn
    identities = Identities(
        provider=place.provider,
        account=account,
        cluster=place.cluster_name,
        storage_key=storage.storage_key.arn,
        signing_key=key,
        tags=cluster.tags,
    )
    identities.of_people(config.people)
    public = aws.kms.get_public_key_output(
        key_id=key, opts=pulumi.InvokeOutputOptions(provider=place.provider)
    )
    return Storage(
        registry_uri=f"s3://{account.bucket('registry')}",
        warehouse_uri=f"s3://{account.bucket('warehouse')}",
        artifacts_uri=f"s3://{account.bucket('artifacts')}",
        models_uri=f"s3://{account.bucket('models')}",
        datasets_uri=f"s3://{account.bucket('datasets')}",
        traces_uri=f"s3://{account.bucket('traces')}",
        evaluation_key=pulumi.Output.concat(KMS_SCHEME, key),
        evaluation_secret=None,
        evaluation_public_key=public.public_key_pem,
        identities=identities,
    )


def _buckets(
    config: BucketStorage, cluster: Cluster, place: Aws, account: Account
) -> ObjectStorage:
    break_glass = config.people.break_glass
    purposes: list[Purpose] = [each for each in get_args(Purpose) if each != "access-logs"]
    return ObjectStorage(
        f"{cluster.environment}-storage",
        StorageArgs(
            provider=place.provider,
            prefix=account.prefix,
            buckets={
                purpose: BucketPlan(
                    bucket=account.bucket(purpose),
                    policy=partial(
                        _bucket_policy, account=account, purpose=purpose, break_glass=break_glass
                    ),
                    expiries=_expiries(config, purpose),
                )
                for purpose in purposes
            },
            access_logs=account.bucket("access-logs"),
            access_log_policy=access_log_policy(account, break_glass=break_glass),
            access_log_days=config.access_log_days,
            storage_key_policy=storage_key_policy(account, break_glass=break_glass),
            signing_key_policy=signing_key_policy(account, break_glass=break_glass),
            tags=cluster.tags,
        ),
    )


def _bucket_policy(
    storage_key: str, *, account: Account, purpose: Purpose, break_glass: str
) -> dict[str, object]:
    return bucket_policy(account, purpose, storage_key=storage_key, break_glass=break_glass)


def _expiries(config: BucketStorage, purpose: Purpose) -> list[Expiry]:
    found = [
        Expiry(
            name=f"superseded-{prefix.strip('/') or 'objects'}",
            prefix=prefix,
            superseded_days=config.superseded_days,
        )
        for prefix in _MUTABLE.get(purpose, ())
    ]
    if purpose == "traces" and config.trace_days is not None:
        found.append(Expiry(name="old-traces", prefix="", days=config.trace_days))
    return found
