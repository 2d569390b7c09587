"""Statements of policies, and what a role may do with the objects of one bucket."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stacks.policies.names import Account, Purpose

Statement = Mapping[str, Any]
Condition = Mapping[str, Mapping[str, Any]]

_READ: Final = ("s3:GetObject",)
# Large objects come in parts; who gives up removes the parts.
_WRITE: Final = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_DELETE: Final = ("s3:DeleteObject",)


@dataclass(frozen=True, kw_only=True)
class Places:
    """What statements are about."""

    account: Account
    storage_key: str
    """ARN of the key that objects are encrypted with."""
    signing_key: str
    """ARN of the key that verdicts are signed with."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a role may do in one bucket, by patterns of keys: `*` stands for anything, / included.

    It may list what it may read or write: S3 tells a reader that an object is missing only if it
    may list it, and every reader of the registry asks for objects that may be missing.
    """

    bucket: Purpose
    read: Sequence[str] = ()
    write: Sequence[str] = ()
    delete: Sequence[str] = ()
    list: Sequence[str] = ()
    """Prefixes that are listed beyond those."""


def allow(
    sid: str, actions: Iterable[str], resources: Iterable[str], condition: Condition | None = None
) -> Statement:
    """A statement of a role's own policy."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": [*actions], "Resource": [*resources]}
    return statement if condition is None else {**statement, "Condition": condition}


def permissions(places: Places, accesses: Iterable[Access]) -> tuple[Statement, ...]:
    """Statements of a role that may do this, and nothing else.

    Two accesses to one bucket add up.
    """
    joined = _by_bucket(accesses)
    statements = [each for access in joined for each in _objects(places.account, access)]
    return (*statements, *_encryption(places, joined))


def _by_bucket(accesses: Iterable[Access]) -> list[Access]:
    joined: dict[Purpose, Access] = {}
    for access in accesses:
        before = joined.get(access.bucket, Access(bucket=access.bucket))
        joined[access.bucket] = Access(
            bucket=access.bucket,
            read=_union(before.read, access.read),
            write=_union(before.write, access.write),
            delete=_union(before.delete, access.delete),
            list=_union(before.list, access.list),
        )
    return list(joined.values())


def _union(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _objects(account: Account, access: Access) -> Iterable[Statement]:
    bucket = account.bucket_arn(access.bucket)
    name = "".join(word.capitalize() for word in access.bucket.split("-"))
    listed = _union(_union(access.read, access.write), access.list)
    for verb, actions, patterns in (
        ("Read", _READ, access.read),
        ("Write", _WRITE, access.write),
        ("Delete", _DELETE, access.delete),
    ):
        if patterns:
            yield allow(f"{verb}{name}", actions, [f"{bucket}/{each}" for each in patterns])
    condition = {"StringLike": {"s3:prefix": list(listed)}}
    yield allow(f"List{name}", ["s3:ListBucket"], [bucket], condition)


def _encryption(places: Places, accesses: Iterable[Access]) -> Iterable[Statement]:
    """S3 encrypts and decrypts for the caller, who must be allowed to, bucket by bucket."""
    account = places.account
    for access in accesses:
        actions = ["kms:Decrypt"] if access.read or access.write else []
        if access.write:
            actions.append("kms:GenerateDataKey")
        if not actions:
            continue
        name = "".join(word.capitalize() for word in access.bucket.split("-"))
        condition = {
            "StringEquals": {
                "kms:ViaService": f"s3.{account.region}.{account.dns_suffix}",
                # With a bucket key the context is the bucket, and not the object.
                "kms:EncryptionContext:aws:s3:arn": account.bucket_arn(access.bucket),
            }
        }
        yield allow(f"Encrypt{name}", actions, [places.storage_key], condition)
