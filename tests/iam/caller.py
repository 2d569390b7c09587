"""Somebody who asks S3 and KMS with the permissions of one role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from botocore.exceptions import ClientError

from stacks.policies.names import Purpose
from tests.iam.policies import ACCOUNT, STORAGE_KEY, Policies
from tests.iam.simulator import Simulator

_EVERYTHING: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


@dataclass(frozen=True)
class Caller:
    """A role, and what decides about it."""

    simulator: Simulator
    policies: Policies
    role: str
    """Its ARN."""
    administrator: bool = False
    """Whether its own policy allows everything."""

    def may(
        self, action: str, resource: str, policy: Any, context: Mapping[str, str] | None = None
    ) -> bool:
        """Whether one request is allowed, over TLS 1.3 unless the context says otherwise."""
        identity = [_EVERYTHING] if self.administrator else [self.policies.roles[self.role]]
        common = {
            "aws:PrincipalArn": self.role,
            "aws:PrincipalAccount": ACCOUNT.account,
            "aws:SecureTransport": "true",
        }
        return self.simulator.allows(
            principal=self.role,
            action=action,
            resource=resource,
            account=ACCOUNT.account,
            context={**common, **(context or {})},
            identity=identity,
            resource_policy=policy,
        )

    def reads(self, purpose: Purpose, key: str, **context: str) -> bool:
        """Whether it can read an object: S3 gives it, and KMS decrypts it."""
        return self._s3(purpose, "s3:GetObject", key, context) and self._kms("Decrypt", purpose)

    def writes(self, purpose: Purpose, key: str, condition: str | None = None, **more: str) -> bool:
        """Whether it can write an object.

        Args:
            purpose: Of the bucket.
            key: Of the object.
            condition: `if-none-match`, `if-match`, or None for a write that replaces anything.
            more: Further keys of the request, `_` for each of `:` and `-`.
        """
        context = {"s3:ObjectCreationOperation": "true", **more}
        if condition is not None:
            context[f"s3:{condition}"] = "*"
        allowed = self._s3(purpose, "s3:PutObject", key, context)
        return allowed and self._kms("GenerateDataKey", purpose)

    def lists(self, purpose: Purpose, prefix: str | None) -> bool:
        """Whether it can list what begins with a prefix; None: all, without naming one."""
        context = {"s3:TlsVersion": "1.3"} | ({} if prefix is None else {"s3:prefix": prefix})
        bucket = ACCOUNT.bucket_arn(purpose)
        return self.may("s3:ListBucket", bucket, self._bucket_policy(purpose), context)

    def deletes(self, purpose: Purpose, key: str, *, version: bool = False) -> bool:
        """Whether it can delete an object, or one version of it for good."""
        action = "s3:DeleteObjectVersion" if version else "s3:DeleteObject"
        return self._s3(purpose, action, key, {})

    def _s3(self, purpose: Purpose, action: str, key: str, context: Mapping[str, str]) -> bool:
        resource = f"{ACCOUNT.bucket_arn(purpose)}/{key}"
        return self.may(
            action,
            resource,
            self._bucket_policy(purpose),
            {"s3:TlsVersion": "1.3", **context},
        )

    def _kms(self, operation: str, purpose: Purpose) -> bool:
        context = {
            "kms:ViaService": f"s3.{ACCOUNT.region}.amazonaws.com",
            "kms:CallerAccount": ACCOUNT.account,
            "kms:EncryptionContext:aws:s3:arn": ACCOUNT.bucket_arn(purpose),
        }
        policy = self.policies.keys[STORAGE_KEY]
        return self.may(f"kms:{operation}", STORAGE_KEY, policy, context)

    def _bucket_policy(self, purpose: Purpose) -> Any:
        return self.policies.buckets[ACCOUNT.bucket(purpose)]


class GuardedS3:
    """Makes a client of S3 refuse what a caller may not do, as S3 itself would.

    S3 tells that an object is missing only to who may list without naming a prefix, and answers 403
    to everybody else. Here refusals come before the request; S3 checks keys and policies at once.
    """

    def __init__(self, caller: Caller, client: Any, unguarded: Any) -> None:
        """Guard a client.

        Args:
            caller: Whose requests they are.
            client: Makes them.
            unguarded: Another client of the same store.
        """
        self._caller = caller
        self._unguarded = unguarded
        self.asked: set[tuple[str, Purpose]] = set()
        """Operations so far, and where."""
        client.meta.events.register("before-parameter-build.s3", self._check)

    def _check(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        purpose = _purpose(params["Bucket"])
        self.asked.add((model.name, purpose))
        if not self._allowed(model.name, purpose, params):
            place = f"{purpose} {params.get('Key', params.get('Prefix'))}"
            message = f"{self._caller.role}: {model.name} {place}"
            error: Any = {"Code": "AccessDenied", "Message": message}
            raise ClientError({"Error": error}, model.name)

    def _allowed(self, operation: str, purpose: Purpose, params: Mapping[str, Any]) -> bool:
        if operation in {"GetObject", "HeadObject"}:
            return self._caller.reads(purpose, params["Key"]) and self._may_know(purpose, params)
        if operation == "ListObjectsV2":
            return self._caller.lists(purpose, params.get("Prefix"))
        if operation == "PutObject":
            given = {"IfMatch": "if-match", "IfNoneMatch": "if-none-match"}
            condition = next((key for name, key in given.items() if name in params), None)
            return self._caller.writes(purpose, params["Key"], condition)
        raise AssertionError(f"{operation}: no code of the project uses it")

    def _may_know(self, purpose: Purpose, params: Mapping[str, Any]) -> bool:
        found = self._unguarded.list_objects_v2(Bucket=params["Bucket"], Prefix=params["Key"])
        keys = [each["Key"] for each in found.get("Contents", [])]
        return params["Key"] in keys or self._caller.lists(purpose, None)


def _purpose(bucket: str) -> Purpose:
    purposes: Sequence[Purpose] = get_args(Purpose)
    (found,) = (each for each in purposes if ACCOUNT.bucket(each) == bucket)
    return found
