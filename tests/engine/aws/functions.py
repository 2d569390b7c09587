"""Functions of the provider `aws` that programs call."""

import base64
import textwrap
from collections.abc import Callable

from tests.engine.aws.account import Account
from tests.engine.aws.values import Plain

_PEM_COLUMNS = 64


def _caller_identity(account: Account, arguments: Plain) -> Plain:
    del arguments
    found = account.client("sts").get_caller_identity()
    identity = {"id": found["Account"], "accountId": found["Account"]}
    return {**identity, "arn": found["Arn"], "userId": found["UserId"]}


def _availability_zones(account: Account, arguments: Plain) -> Plain:
    del arguments
    zones = account.client("ec2").describe_availability_zones()["AvailabilityZones"]
    return {
        "id": account.region,
        "names": [zone["ZoneName"] for zone in zones],
        "zoneIds": [zone["ZoneId"] for zone in zones],
    }


def _public_key(account: Account, arguments: Plain) -> Plain:
    found = account.client("kms").get_public_key(KeyId=arguments["keyId"])
    text = base64.b64encode(found["PublicKey"]).decode()
    lines = "\n".join(textwrap.wrap(text, _PEM_COLUMNS))
    return {
        "id": found["KeyId"],
        "arn": found["KeyId"],
        "keyId": arguments["keyId"],
        "publicKey": text,
        "publicKeyPem": f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n",
    }


def _secret(account: Account, arguments: Plain) -> Plain:
    wanted = arguments.get("name") or arguments["arn"]
    found = account.client("secretsmanager").describe_secret(SecretId=wanted)
    return {"id": found["ARN"], "arn": found["ARN"], "name": found["Name"]}


def _secret_version(account: Account, arguments: Plain) -> Plain:
    found = account.client("secretsmanager").get_secret_value(SecretId=arguments["secretId"])
    version = {"versionId": found["VersionId"], "versionStages": found["VersionStages"]}
    return {
        "id": f"{found['ARN']}|{found['VersionId']}",
        "arn": found["ARN"],
        "secretId": arguments["secretId"],
        "secretString": found["SecretString"],
        **version,
    }


FUNCTIONS: dict[str, Callable[[Account, Plain], Plain]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:kms/getPublicKey:getPublicKey": _public_key,
    "aws:secretsmanager/getSecret:getSecret": _secret,
    "aws:secretsmanager/getSecretVersion:getSecretVersion": _secret_version,
}
