"""The object store on an S3 bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from registry.errors import NotFoundError, PreconditionFailedError, RegistryError, StoreError
from registry.layout import is_immutable
from registry.store import StoredObject, check_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# 412: the condition does not hold. 409: another conditional write of the same key won the race.
_CONDITION_CODES = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING_CODES = {"NoSuchKey", "404", "NotFound"}
_REFUSED_CODES = {"AccessDenied", "403"}


class S3Store:
    """Objects below `prefix` in `bucket`; conditions are S3's own conditional writes."""

    def __init__(self, bucket: str, prefix: str, client: "S3Client | None" = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = client or boto3.client("s3")

    def get(self, key: str) -> StoredObject:
        """Read an object. Raises NotFoundError."""
        full = self._key(key)
        with self._asking(full):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=full)
            except ClientError as error:
                raise self._not_read(error, key) from error
            return StoredObject(answer["Body"].read(), answer["ETag"])

    def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        """Write an object; see ObjectStore.put."""
        return self._put(key, data, if_match=if_match, if_none_match=if_none_match)

    def put_file(self, key: str, path: Path, *, if_none_match: bool = False) -> str:
        """Write an object from a file; see ObjectStore.put."""
        with path.open("rb") as stream:
            return self._put(key, stream, if_match=None, if_none_match=if_none_match)

    def get_to_file(self, key: str, path: Path) -> None:
        """Write an object's content to a new file. Raises NotFoundError."""
        full = self._key(key)
        with self._asking(full):
            try:
                self._client.download_file(self._bucket, full, str(path))
            except ClientError as error:
                raise self._not_read(error, key) from error

    def list(self, prefix: str) -> list[str]:
        """Keys that start with the prefix, sorted."""
        return list(self.marks(prefix))

    def marks(self, prefix: str) -> dict[str, str]:
        """Keys and their etags; see ObjectStore.marks."""
        full = self._prefix + prefix
        with self._asking(full):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=full
            )
            found = {
                item["Key"].removeprefix(self._prefix): item["ETag"]
                for page in pages
                for item in page.get("Contents", [])
            }
        return dict(sorted(found.items()))

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _put(self, key: str, body: Any, *, if_match: str | None, if_none_match: bool) -> str:
        if is_immutable(key) and not if_none_match:
            raise RegistryError(
                f"{key!r} is immutable: it can be created once and never overwritten"
            )
        conditions: dict[str, Any] = {}
        if if_match is not None:
            conditions["IfMatch"] = if_match
        if if_none_match:
            conditions["IfNoneMatch"] = "*"
        full = self._key(key)
        with self._asking(full):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=full, Body=body, **conditions
                )
            except ClientError as error:
                raise self._translated(error, key, conditional=bool(conditions)) from error
        return answer["ETag"]

    @contextmanager
    def _asking(self, full: str) -> Iterator[None]:
        """Raise StoreError for what S3 refuses, and where it does not answer."""
        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            raise StoreError(f"s3://{self._bucket}/{full}: {error}") from error

    def _not_read(self, error: ClientError, key: str) -> Exception:
        """S3 says that an object is missing only to who may list the whole bucket.

        To a role that may list below some prefixes it answers 403, and the list knows.
        """
        if _code(error) in _REFUSED_CODES and self._is_missing(key):
            return self._missing(key)
        return self._translated(error, key)

    def _is_missing(self, key: str) -> bool:
        full = self._key(key)
        try:
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=full, MaxKeys=1)
        except ClientError:
            return False
        # In key order, a key comes before all that it is a prefix of.
        return [item["Key"] for item in found.get("Contents", [])] != [full]

    def _translated(self, error: ClientError, key: str, *, conditional: bool = False) -> Exception:
        # S3 answers a failed If-Match on a missing object with 404.
        if conditional and _code(error) in _CONDITION_CODES | _MISSING_CODES:
            return PreconditionFailedError(f"{key!r} exists already or changed since it was read")
        if _code(error) in _MISSING_CODES:
            return self._missing(key)
        return error

    def _missing(self, key: str) -> NotFoundError:
        return NotFoundError(f"no object {key!r} in s3://{self._bucket}/{self._prefix}")


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
