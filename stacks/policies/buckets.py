"""What nobody may do with a bucket, whatever their own policies allow.

A bucket's policy holds for administrators, too. It names roles by their paths, because domains come
and go without a change of the environment.

Immutable keys are those of `registry.layout.is_immutable`. A pattern of IAM has no digits and no
way to stop `*` at a slash, so `CREATE_ONLY` covers somewhat more: `lora-adapters/<domain>/v…/…`
whatever follows the v, and `result.json` at any depth of a run. Nothing is written there.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from stacks.policies.names import Account, Capacity, Purpose
from stacks.policies.statements import Condition, Statement

GUARDED: Final[frozenset[Purpose]] = frozenset({"registry", "datasets", "warehouse"})
"""Buckets in which nothing is deleted, and whose settings only the break-glass role changes."""
CREATE_ONLY: Final[Mapping[Purpose, tuple[str, ...]]] = {
    "registry": ("lora-adapters/*/v*", "approvals/*", "runs/*/result.json"),
    "warehouse": ("events/*", "orphans/*", "closed/*", "closed-heads/*", "notes/*"),
}
"""Keys that can be created, and never written again.

Usage is more than `is_immutable` says: the shipper creates its files, and a ledger that whoever
holds the router's role can rewrite is no evidence of anything.
"""
_POINTERS: Final = "lora-adapters/*/latest"
_RESERVED: Final[tuple[tuple[str, str, tuple[Capacity, ...]], ...]] = (
    ("OnlyPublishersPublish", "lora-adapters/*/v*", ("publish", "evaluate")),
    ("OnlyEvaluationsJudge", "lora-adapters/*/evaluation.json", ("evaluate",)),
    ("OnlyReleasesMovePointers", _POINTERS, ("release",)),
    ("OnlyApproversDecide", "approvals/*", ("approve",)),
)
"""Keys of the registry that roles of these capacities alone may write."""
_SETTINGS: Final = (
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketAcl",
    "s3:PutBucketLogging",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
)
# Of a write that makes an object: not of the parts of an upload, which take no condition.
_CREATES: Final = {"Bool": {"s3:ObjectCreationOperation": "true"}}


def bucket_policy(
    account: Account, purpose: Purpose, *, storage_key: str, break_glass: str
) -> dict[str, Any]:
    """The policy of a bucket.

    Args:
        account: Where the bucket is.
        purpose: What it is for.
        storage_key: ARN of the key that its objects are encrypted with.
        break_glass: ARN of the role that may delete versions and change settings.
    """
    return {
        "Version": "2012-10-17",
        "Statement": list(_statements(account, purpose, storage_key, break_glass)),
    }


def access_log_policy(account: Account, *, break_glass: str) -> dict[str, Any]:
    """The policy of the bucket of access logs: S3 writes it, for the account's other buckets."""
    bucket = account.bucket_arn("access-logs")
    delivery = {
        "Sid": "AccessLogs",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": ["s3:PutObject"],
        "Resource": [f"{bucket}/*"],
        "Condition": {
            "StringEquals": {"aws:SourceAccount": account.account},
            "ArnLike": {"aws:SourceArn": f"arn:{account.partition}:s3:::{account.prefix}-*"},
        },
    }
    statements = [delivery, *_transport(bucket), *_guard(bucket, break_glass)]
    return {"Version": "2012-10-17", "Statement": statements}


def _statements(
    account: Account, purpose: Purpose, storage_key: str, break_glass: str
) -> Iterable[Statement]:
    bucket = account.bucket_arn(purpose)
    yield from _transport(bucket)
    yield from _encryption(bucket, storage_key)
    if purpose in GUARDED:
        yield from _guard(bucket, break_glass)
    else:
        yield _no_version_deleted(bucket, break_glass)
    if purpose in CREATE_ONLY:
        yield _create_only(bucket, CREATE_ONLY[purpose])
    if purpose == "registry":
        yield _compare_and_swap(bucket)
        yield from _reserved(account, bucket)


def _transport(bucket: str) -> Iterable[Statement]:
    everything = [bucket, f"{bucket}/*"]
    yield _deny("OnlyTls", ["s3:*"], everything, {"Bool": {"aws:SecureTransport": "false"}})
    yield _deny("OnlyTls12", ["s3:*"], everything, {"NumericLessThan": {"s3:TlsVersion": "1.2"}})


def _encryption(bucket: str, storage_key: str) -> Iterable[Statement]:
    """A write that says nothing of encryption gets the bucket's; one that does must say the same.

    `Null` is needed: a negated comparison with a key that is not there is true.
    """
    for sid, key, value in (
        ("OnlyKms", "s3:x-amz-server-side-encryption", "aws:kms"),
        ("OnlyTheKey", "s3:x-amz-server-side-encryption-aws-kms-key-id", storage_key),
    ):
        condition = {"StringNotEquals": {key: value}, "Null": {key: "false"}}
        yield _deny(sid, ["s3:PutObject"], [f"{bucket}/*"], condition)
    customer = {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}}
    yield _deny("NoCustomerKeys", ["s3:PutObject"], [f"{bucket}/*"], customer)


def _guard(bucket: str, break_glass: str) -> Iterable[Statement]:
    """A delete marker hides an object, and what is hidden can be created again: so none either.

    Replication writes and hides objects by actions of its own, past everything that is said here of
    s3:PutObject: a bucket of somebody else would only have to name this one as its target.
    """
    others = _others(break_glass)
    deleting = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]
    yield _deny("NobodyDeletes", deleting, [f"{bucket}/*"], others)
    replicating = ["s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"]
    yield _deny("NobodyReplicatesInto", replicating, [f"{bucket}/*"], others)
    yield _deny("NobodyChangesSettings", _SETTINGS, [bucket], others)


def _no_version_deleted(bucket: str, break_glass: str) -> Statement:
    resources = [f"{bucket}/*"]
    return _deny(
        "NobodyDeletesVersions", ["s3:DeleteObjectVersion"], resources, _others(break_glass)
    )


def _create_only(bucket: str, patterns: Iterable[str]) -> Statement:
    condition = {"Null": {"s3:if-none-match": "true"}, **_CREATES}
    resources = [f"{bucket}/{each}" for each in patterns]
    return _deny("CreateOnly", ["s3:PutObject"], resources, condition)


def _compare_and_swap(bucket: str) -> Statement:
    """A first pointer is created, every other replaces the one that was read."""
    condition = {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}, **_CREATES}
    return _deny("CompareAndSwap", ["s3:PutObject"], [f"{bucket}/{_POINTERS}"], condition)


def _reserved(account: Account, bucket: str) -> Iterable[Statement]:
    for sid, pattern, capacities in _RESERVED:
        roles = [account.roles_of(each) for each in capacities]
        condition = {"ArnNotLike": {"aws:PrincipalArn": roles}}
        yield _deny(sid, ["s3:PutObject"], [f"{bucket}/{pattern}"], condition)


def _others(role: str) -> Condition:
    return {"ArnNotEquals": {"aws:PrincipalArn": role}}


def _deny(
    sid: str, actions: Iterable[str], resources: Iterable[str], condition: Condition
) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": [*actions],
        "Resource": [*resources],
        "Condition": condition,
    }
