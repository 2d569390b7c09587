"""Functions of the provider `aws` that programs call."""

from collections.abc import Callable

from tests.engine.aws.account import Account
from tests.engine.aws.shapes import lowered
from tests.engine.aws.values import Plain


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
    return {"id": arguments["keyId"], **lowered({"KeySpec": found["KeySpec"]})}


FUNCTIONS: dict[str, Callable[[Account, Plain], Plain]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:kms/getPublicKey:getPublicKey": _public_key,
}
