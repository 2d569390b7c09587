"""The buckets of an environment, and the keys that they and its verdicts rest on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.bucket import Bucket, BucketArgs, Expiry

_DAYS_BEFORE_KEY_DELETION: Final = 30


@dataclass(frozen=True, kw_only=True)
class BucketPlan:
    """One bucket that holds data."""

    bucket: str
    policy: Callable[[str], Mapping[str, Any]]
    """Makes its policy document, given the ARN of the key that its objects are encrypted with."""
    expiries: Sequence[Expiry]


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """Which buckets, and who may use the keys."""

    provider: aws.Provider
    prefix: str
    """Of the names of the keys."""
    buckets: Mapping[str, BucketPlan]
    """By what they are for."""
    access_logs: str
    """Name of the bucket of access logs."""
    access_log_policy: Mapping[str, Any]
    access_log_days: int
    """How long they are kept."""
    storage_key_policy: Mapping[str, Any]
    signing_key_policy: Mapping[str, Any]
    tags: Mapping[str, str]


class ObjectStorage(pulumi.ComponentResource):
    """A bucket for each purpose, one for their access logs, a key for objects and one for verdicts.

    The private half of the signing key never exists outside of KMS.
    """

    storage_key: aws.kms.Key
    signing_key: aws.kms.Key

    def __init__(
        self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Args:
            name: Name of the component.
            args: The buckets.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:ObjectStorage", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.storage_key = _storage_key(name, args, self)
        self.signing_key = _signing_key(name, args, self)
        logs = Bucket(f"{name}-access-logs", _access_logs(args), child)
        for purpose, plan in args.buckets.items():
            bucket = BucketArgs(
                provider=args.provider,
                bucket=plan.bucket,
                policy=self.storage_key.arn.apply(plan.policy),
                encryption_key=self.storage_key.arn,
                access_logs=logs.name,
                expiries=plan.expiries,
                tags=args.tags,
            )
            Bucket(f"{name}-{purpose}", bucket, child)
        self.register_outputs(
            {"storage_key": self.storage_key.arn, "signing_key": self.signing_key.arn}
        )


def _access_logs(args: StorageArgs) -> BucketArgs:
    expiry = Expiry(
        name="old-logs", prefix="", days=args.access_log_days, superseded_days=args.access_log_days
    )
    return BucketArgs(
        provider=args.provider,
        bucket=args.access_logs,
        policy=args.access_log_policy,
        encryption_key=None,
        access_logs=None,
        expiries=[expiry],
        tags=args.tags,
    )


def _storage_key(name: str, args: StorageArgs, parent: pulumi.Resource) -> aws.kms.Key:
    opts = _options(args, parent)
    key = aws.kms.Key(
        f"{name}-objects",
        description=f"Objects of {args.prefix}",
        enable_key_rotation=True,
        deletion_window_in_days=_DAYS_BEFORE_KEY_DELETION,
        policy=json.dumps(args.storage_key_policy),
        tags=args.tags,
        opts=opts,
    )
    _alias(f"{name}-objects", f"{args.prefix}-objects", key, args, parent)
    return key


def _signing_key(name: str, args: StorageArgs, parent: pulumi.Resource) -> aws.kms.Key:
    key = aws.kms.Key(
        f"{name}-verdicts",
        description=f"Verdicts of the evaluation gate of {args.prefix}",
        key_usage="SIGN_VERIFY",
        customer_master_key_spec="ECC_NIST_P256",
        deletion_window_in_days=_DAYS_BEFORE_KEY_DELETION,
        policy=json.dumps(args.signing_key_policy),
        tags=args.tags,
        opts=_options(args, parent),
    )
    _alias(f"{name}-verdicts", f"{args.prefix}-verdicts", key, args, parent)
    return key


def _alias(
    name: str, alias: str, key: aws.kms.Key, args: StorageArgs, parent: pulumi.Resource
) -> None:
    opts = pulumi.ResourceOptions(parent=parent, provider=args.provider)
    aws.kms.Alias(name, name=f"alias/{alias}", target_key_id=key.key_id, opts=opts)


def _options(args: StorageArgs, parent: pulumi.Resource) -> pulumi.ResourceOptions:
    """Without the keys every object is lost, and every verdict void."""
    return pulumi.ResourceOptions(parent=parent, provider=args.provider, protect=True)
