"""Buckets, and what is configured of them one by one."""

import json
from abc import abstractmethod
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.engine.aws.account import Account, AwsError, missing
from tests.engine.aws.kind import Kind, Remembered
from tests.engine.aws.shapes import capitalised, lowered, tag_list, tags_of
from tests.engine.aws.values import Plain

_NAMES = {"KMSMasterKeyID": "KmsMasterKeyId", "SSEAlgorithm": "SseAlgorithm", "ID": "Id"}
"""What the API writes otherwise than the provider."""
_API_NAMES = {ours: theirs for theirs, ours in _NAMES.items()}


class Bucket(Kind):
    """A bucket that holds something is not deleted, unless `forceDestroy` says so."""

    token = "aws:s3/bucket:Bucket"
    force_new = frozenset({"bucket", "bucketPrefix", "objectLockEnabled"})
    name = "bucket"
    # It says what a deletion does.
    not_kept = frozenset({"forceDestroy"})

    def create(self, account: Account, inputs: Plain) -> str:
        s3 = account.client("s3")
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
        s3.create_bucket(
            Bucket=inputs["bucket"],
            ObjectLockEnabledForBucket=inputs.get("objectLockEnabled", False),
            **({} if account.region == "us-east-1" else elsewhere),
        )
        self._tag(s3, inputs)
        return str(inputs["bucket"])

    @staticmethod
    def _tag(s3: Any, inputs: Plain) -> None:
        s3.put_bucket_tagging(
            Bucket=inputs["bucket"], Tagging={"TagSet": tag_list(inputs.get("tags"))}
        )

    def read(self, account: Account, identity: str) -> Plain | None:
        s3 = account.client("s3")
        try:
            s3.head_bucket(Bucket=identity)
        except ClientError as error:
            if missing(error):
                return None
            raise
        return {
            "arn": f"arn:aws:s3:::{identity}",
            "bucket": identity,
            "bucketDomainName": f"{identity}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{identity}.s3.{account.region}.amazonaws.com",
            "objectLockEnabled": _has_object_lock(s3, identity),
            **tags_of(_tags(s3, identity)),
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        self._tag(account.client("s3"), new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        s3 = account.client("s3")
        if inputs.get("forceDestroy"):
            for version in _versions(s3, identity):
                s3.delete_object(Bucket=identity, **version)
        s3.delete_bucket(Bucket=identity)


def _versions(s3: Any, bucket: str) -> list[dict[str, str]]:
    found = s3.list_object_versions(Bucket=bucket)
    every = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in every]


def _tags(s3: Any, bucket: str) -> list[dict[str, str]]:
    try:
        return list(s3.get_bucket_tagging(Bucket=bucket)["TagSet"])
    except ClientError as error:
        if missing(error):
            return []
        raise


def _has_object_lock(s3: Any, bucket: str) -> bool:
    try:
        s3.get_object_lock_configuration(Bucket=bucket)
    except ClientError:
        return False
    return True


class _Setting(Kind):
    """One setting of a bucket; its id is the bucket."""

    force_new = frozenset({"bucket"})
    method: ClassVar[str]
    """`get_…`, `put_…` and `delete_…` of the API, without the verb."""

    @abstractmethod
    def arguments(self, inputs: Plain) -> Plain:
        """Of `put_…`, without the bucket."""

    @abstractmethod
    def properties(self, answer: Plain) -> Plain | None:
        """Of the answer of `get_…`; None when there is no such setting."""

    def create(self, account: Account, inputs: Plain) -> str:
        self._put(account, inputs)
        return str(inputs["bucket"])

    def _put(self, account: Account, inputs: Plain) -> None:
        put = getattr(account.client("s3"), f"put_{self.method}")
        put(Bucket=inputs["bucket"], **self.arguments(inputs))

    def read(self, account: Account, identity: str) -> Plain | None:
        try:
            answer = getattr(account.client("s3"), f"get_{self.method}")(Bucket=identity)
        except ClientError as error:
            if missing(error):
                return None
            raise
        found = self.properties(answer)
        return found and {"bucket": identity, **found}

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        self._put(account, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        getattr(account.client("s3"), f"delete_{self.method}")(Bucket=identity)


class Versioning(_Setting):
    """It cannot be taken back: deleting it suspends it."""

    token = "aws:s3/bucketVersioning:BucketVersioning"
    method = "bucket_versioning"

    def arguments(self, inputs: Plain) -> Plain:
        return {"VersioningConfiguration": capitalised(inputs["versioningConfiguration"])}

    def properties(self, answer: Plain) -> Plain | None:
        if answer.get("Status") != "Enabled":
            return None
        return {"versioningConfiguration": {"status": "Enabled"}}

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("s3").put_bucket_versioning(
            Bucket=identity, VersioningConfiguration={"Status": "Suspended"}
        )


class Encryption(_Setting):
    token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    method = "bucket_encryption"

    def arguments(self, inputs: Plain) -> Plain:
        rules = [_respelled(capitalised(rule), _API_NAMES) for rule in inputs["rules"]]
        return {"ServerSideEncryptionConfiguration": {"Rules": rules}}

    def properties(self, answer: Plain) -> Plain | None:
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        return {"rules": [lowered(_respelled(rule, _NAMES)) for rule in rules]}


class PublicAccessBlock(_Setting):
    token = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    method = "public_access_block"
    # It says what a deletion does.
    not_kept = frozenset({"skipDestroy"})

    def arguments(self, inputs: Plain) -> Plain:
        named = {k: v for k, v in inputs.items() if k not in {"bucket", "skipDestroy"}}
        return {"PublicAccessBlockConfiguration": capitalised(named)}

    def properties(self, answer: Plain) -> Plain | None:
        found: Plain = lowered(answer["PublicAccessBlockConfiguration"])
        return found


class OwnershipControls(_Setting):
    token = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
    method = "bucket_ownership_controls"

    def arguments(self, inputs: Plain) -> Plain:
        return {"OwnershipControls": {"Rules": [capitalised(inputs["rule"])]}}

    def properties(self, answer: Plain) -> Plain | None:
        return {"rule": lowered(answer["OwnershipControls"]["Rules"][0])}


class Lifecycle(_Setting):
    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    method = "bucket_lifecycle_configuration"

    def arguments(self, inputs: Plain) -> Plain:
        rules = [_respelled(capitalised(rule), _API_NAMES) for rule in inputs["rules"]]
        return {"LifecycleConfiguration": {"Rules": rules}}

    def properties(self, answer: Plain) -> Plain | None:
        return {"rules": [lowered(_respelled(rule, _NAMES)) for rule in answer["Rules"]]}

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("s3").delete_bucket_lifecycle(Bucket=identity)


class Policy(_Setting):
    token = "aws:s3/bucketPolicy:BucketPolicy"
    method = "bucket_policy"

    def arguments(self, inputs: Plain) -> Plain:
        return {"Policy": inputs["policy"]}

    def properties(self, answer: Plain) -> Plain | None:
        return {"policy": answer["Policy"]}


class Logging(Remembered):
    """moto stumbles over the target's policy where a statement is about everybody."""

    token = "aws:s3/bucketLogging:BucketLogging"
    force_new = frozenset({"bucket"})

    def identity(self, account: Account, inputs: Plain) -> str:
        s3 = account.client("s3")
        s3.head_bucket(Bucket=inputs["bucket"])
        try:
            policy = s3.get_bucket_policy(Bucket=inputs["targetBucket"])["Policy"]
        except ClientError as error:
            raise _no_grant(inputs) from error
        if not any(map(_lets_logs_in, json.loads(policy)["Statement"])):
            raise _no_grant(inputs)
        return str(inputs["bucket"])


def _lets_logs_in(statement: Plain) -> bool:
    principal = statement.get("Principal")
    service = principal.get("Service") if isinstance(principal, dict) else None
    return statement["Effect"] == "Allow" and service == "logging.s3.amazonaws.com"


def _no_grant(inputs: Plain) -> AwsError:
    return AwsError(
        f"InvalidTargetBucketForLogging: {inputs['targetBucket']} does not let logging.s3 write"
    )


def _respelled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _respelled(item, names) for key, item in value.items()}
    return [_respelled(item, names) for item in value] if isinstance(value, list) else value


KINDS: tuple[Kind, ...] = (
    Bucket(),
    Versioning(),
    Encryption(),
    PublicAccessBlock(),
    OwnershipControls(),
    Lifecycle(),
    Policy(),
    Logging(),
)
