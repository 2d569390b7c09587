"""Who may use and administer the keys in KMS.

The account's own policies decide about administration and, through S3, about the storage key. Who
signs, the policy of the signing key names: without it no policy of the account allows anything.
"""

from collections.abc import Iterable
from typing import Any, Final

from stacks.policies.names import Account
from stacks.policies.statements import Condition, Statement

# Everything but the use of the key.
_ADMINISTRATION: Final = (
    "kms:CancelKeyDeletion",
    "kms:Describe*",
    "kms:Disable*",
    "kms:Enable*",
    "kms:Get*",
    "kms:List*",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:UpdateKeyDescription",
)


_DATABASES: Final = ("rds", "elasticache")


def storage_key_policy(account: Account, *, break_glass: str) -> dict[str, Any]:
    """The policy of the key that objects and databases are encrypted with.

    S3 uses it for roles that may. RDS and ElastiCache take a grant from whoever makes a database
    and use that from then on, so nobody decrypts through them.
    """
    through_s3 = _through(account, "s3")
    use = _allow("UseThroughS3", account, ["kms:Decrypt", "kms:GenerateDataKey"], through_s3)
    granted = {
        **_through(account, *_DATABASES),
        "Bool": {"kms:GrantIsForAWSResource": "true"},
    }
    grant = _allow("GrantToDatabases", account, ["kms:CreateGrant"], granted)
    return _policy(_administer(account), use, grant, _keep(break_glass))


def _through(account: Account, *services: str) -> Condition:
    via = [f"{each}.{account.region}.{account.dns_suffix}" for each in services]
    return {
        "StringEquals": {
            "kms:CallerAccount": account.account,
            "kms:ViaService": via[0] if len(via) == 1 else via,
        }
    }


def signing_key_policy(account: Account, *, break_glass: str) -> dict[str, Any]:
    """The policy of the key that verdicts are signed with: only evaluations sign."""
    evaluations = {"aws:PrincipalArn": account.roles_of("evaluate")}
    return _policy(
        _administer(account),
        _allow("EvaluationsSign", account, ["kms:Sign"], {"ArnLike": evaluations}),
        _keep(break_glass),
    )


def _administer(account: Account) -> Statement:
    return _allow("Administration", account, _ADMINISTRATION, None)


def _keep(break_glass: str) -> Statement:
    """Without its key an object is gone, so a key is kept as versions are."""
    others = {"ArnNotEquals": {"aws:PrincipalArn": break_glass}}
    return _deny("NobodyEndsTheKey", ["kms:ScheduleKeyDeletion", "kms:DisableKey"], others)


def _policy(*statements: Statement) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(
    sid: str, account: Account, actions: Iterable[str], condition: Condition | None
) -> Statement:
    return _statement(sid, "Allow", {"AWS": account.root}, actions, condition)


def _deny(sid: str, actions: Iterable[str], condition: Condition) -> Statement:
    return _statement(sid, "Deny", "*", actions, condition)


def _statement(
    sid: str, effect: str, principal: Any, actions: Iterable[str], condition: Condition | None
) -> Statement:
    statement = {
        "Sid": sid,
        "Effect": effect,
        "Principal": principal,
        "Action": [*actions],
        "Resource": "*",
    }
    return statement if condition is None else {**statement, "Condition": condition}
