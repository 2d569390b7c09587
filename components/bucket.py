"""One private bucket."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

_UNFINISHED_UPLOAD_DAYS: Final = 7


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """What S3 removes by itself below a prefix."""

    name: str
    prefix: str
    """Empty for the whole bucket."""
    superseded_days: int | None = None
    """After how many days versions go that were overwritten or deleted; None: never."""
    days: int | None = None
    """After how many days objects are deleted; None: never."""


@dataclass(frozen=True, kw_only=True)
class BucketArgs:
    """What a bucket is, and what nobody may do with it."""

    provider: aws.Provider
    bucket: str
    """Its name, in all of AWS."""
    policy: pulumi.Input[Mapping[str, Any]]
    """Its policy document."""
    encryption_key: pulumi.Input[str] | None
    """ARN of a key in KMS; None: keys of S3, as the receiver of access logs needs."""
    access_logs: pulumi.Input[str] | None
    """Name of the bucket that gets the logs of who read and wrote; None: nobody does."""
    expiries: Sequence[Expiry]
    tags: Mapping[str, str]


class Bucket(pulumi.ComponentResource):
    """Bucket without public access or ACLs, versioned, encrypted, logged, and protected.

    The policy comes last: it may refuse every later change of what comes before.
    """

    name: pulumi.Output[str]
    """Known once the policy is there: logs are refused by a bucket that does not let them in."""

    def __init__(
        self, name: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Args:
            name: Name of the component.
            args: The bucket.
            opts: Options of the component.
        """
        super().__init__("pipeline:aws:Bucket", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, provider=args.provider)
        bucket = aws.s3.Bucket(
            name,
            bucket=args.bucket,
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=True)),
        )
        settings = [
            *_access(name, bucket, child),
            _encryption(name, bucket, args.encryption_key, child),
            *_lifecycle(name, bucket, args.expiries, child),
        ]
        if args.access_logs is not None:
            logging = aws.s3.BucketLogging(
                name,
                bucket=bucket.bucket,
                target_bucket=args.access_logs,
                target_prefix=f"{args.bucket}/",
                opts=child,
            )
            settings.append(logging)
        policy = aws.s3.BucketPolicy(
            name,
            bucket=bucket.bucket,
            policy=pulumi.Output.from_input(args.policy).apply(json.dumps),
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=settings)),
        )
        self.name = policy.bucket
        self.register_outputs({"name": self.name})


def _access(
    name: str, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    return [
        aws.s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=opts,
        ),
        aws.s3.BucketOwnershipControls(
            name,
            bucket=bucket.bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=opts,
        ),
    ]


def _encryption(
    name: str,
    bucket: aws.s3.Bucket,
    key: pulumi.Input[str] | None,
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    default = (
        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="AES256" if key is None else "aws:kms", kms_master_key_id=key
        )
    )
    rule = aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=default,
        # One question to KMS for many objects.
        bucket_key_enabled=key is not None,
    )
    return aws.s3.BucketServerSideEncryptionConfiguration(
        name, bucket=bucket.bucket, rules=[rule], opts=opts
    )


def _lifecycle(
    name: str, bucket: aws.s3.Bucket, expiries: Sequence[Expiry], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    versioning = aws.s3.BucketVersioning(
        name,
        bucket=bucket.bucket,
        versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(
            status="Enabled"
        ),
        opts=opts,
    )
    rules = aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=bucket.bucket,
        rules=[_unfinished_uploads(), *map(_rule, expiries)],
        # Rules for superseded versions are refused before there are versions.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[versioning])),
    )
    return [versioning, rules]


def _unfinished_uploads() -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id="unfinished-uploads",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        abort_incomplete_multipart_upload=(
            aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                days_after_initiation=_UNFINISHED_UPLOAD_DAYS
            )
        ),
    )


def _rule(expiry: Expiry) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    superseded = expiry.superseded_days
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=expiry.name,
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=expiry.prefix),
        expiration=None
        if expiry.days is None
        else aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=expiry.days),
        noncurrent_version_expiration=None
        if superseded is None
        else aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=superseded
        ),
    )
