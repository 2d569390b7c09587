"""Roles, their policies, and keys."""

import json

from botocore.exceptions import ClientError

from tests.engine.aws.account import Account, missing
from tests.engine.aws.kind import Kind
from tests.engine.aws.shapes import changed, gone, tag_list, tags_of
from tests.engine.aws.values import Plain


class Role(Kind):
    token = "aws:iam/role:Role"
    force_new = frozenset({"name", "namePrefix", "path"})
    name = "name"
    # It says what a deletion does.
    not_kept = frozenset({"forceDetachPolicies"})

    def create(self, account: Account, inputs: Plain) -> str:
        iam = account.client("iam")
        optional = {
            "Description": inputs.get("description"),
            "PermissionsBoundary": inputs.get("permissionsBoundary"),
            "MaxSessionDuration": inputs.get("maxSessionDuration"),
        }
        iam.create_role(
            RoleName=inputs["name"],
            Path=inputs.get("path", "/"),
            AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
            Tags=tag_list(inputs.get("tags")),
            **{key: value for key, value in optional.items() if value is not None},
        )
        return str(inputs["name"])

    def read(self, account: Account, identity: str) -> Plain | None:
        try:
            found = account.client("iam").get_role(RoleName=identity)["Role"]
        except ClientError as error:
            if missing(error):
                return None
            raise
        return {
            "arn": found["Arn"],
            "name": found["RoleName"],
            "path": found["Path"],
            "uniqueId": found["RoleId"],
            "assumeRolePolicy": json.dumps(found["AssumeRolePolicyDocument"]),
            "description": found.get("Description"),
            "maxSessionDuration": found.get("MaxSessionDuration"),
            "permissionsBoundary": (found.get("PermissionsBoundary") or {}).get(
                "PermissionsBoundaryArn"
            ),
            **tags_of(found.get("Tags")),
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        iam = account.client("iam")
        iam.update_assume_role_policy(RoleName=identity, PolicyDocument=new["assumeRolePolicy"])
        if changed(old, new, "description", "maxSessionDuration"):
            iam.update_role(
                RoleName=identity,
                Description=new.get("description", ""),
                MaxSessionDuration=new.get("maxSessionDuration", 3600),
            )
        if changed(old, new, "permissionsBoundary"):
            iam.put_role_permissions_boundary(
                RoleName=identity, PermissionsBoundary=new["permissionsBoundary"]
            )
        if removed := gone(old, new):
            iam.untag_role(RoleName=identity, TagKeys=removed)
        iam.tag_role(RoleName=identity, Tags=tag_list(new.get("tags")))

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("iam").delete_role(RoleName=identity)


class RolePolicy(Kind):
    token = "aws:iam/rolePolicy:RolePolicy"
    force_new = frozenset({"role", "name", "namePrefix"})
    name = "name"

    def create(self, account: Account, inputs: Plain) -> str:
        self._put(account, inputs)
        return f"{inputs['role']}:{inputs['name']}"

    @staticmethod
    def _put(account: Account, inputs: Plain) -> None:
        account.client("iam").put_role_policy(
            RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"]
        )

    def read(self, account: Account, identity: str) -> Plain | None:
        role, name = identity.split(":")
        try:
            found = account.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        except ClientError as error:
            if missing(error):
                return None
            raise
        return {"role": role, "name": name, "policy": json.dumps(found["PolicyDocument"])}

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        self._put(account, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        role, name = identity.split(":")
        account.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


class RolePolicyAttachment(Kind):
    token = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    force_new = frozenset({"role", "policyArn"})
    delete_first = True

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("iam").attach_role_policy(
            RoleName=inputs["role"], PolicyArn=inputs["policyArn"]
        )
        return f"{inputs['role']}/{inputs['policyArn']}"

    def read(self, account: Account, identity: str) -> Plain | None:
        role, _, policy = identity.partition("/")
        try:
            found = account.client("iam").list_attached_role_policies(RoleName=role)
        except ClientError as error:
            if missing(error):
                return None
            raise
        arns = [each["PolicyArn"] for each in found["AttachedPolicies"]]
        return {"role": role, "policyArn": policy} if policy in arns else None

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        role, _, policy = identity.partition("/")
        account.client("iam").detach_role_policy(RoleName=role, PolicyArn=policy)


class Key(Kind):
    """Deleting one sets its date: what waits for deletion counts as gone."""

    token = "aws:kms/key:Key"
    force_new = frozenset({"customerMasterKeySpec", "keyUsage", "multiRegion", "customKeyStoreId"})
    # It says how a deletion is made.
    not_kept = frozenset({"deletionWindowInDays", "bypassPolicyLockoutSafetyCheck"})

    def create(self, account: Account, inputs: Plain) -> str:
        kms = account.client("kms")
        policy = {"Policy": inputs["policy"]} if "policy" in inputs else {}
        made = kms.create_key(
            Description=inputs.get("description", ""),
            KeySpec=inputs.get("customerMasterKeySpec", "SYMMETRIC_DEFAULT"),
            KeyUsage=inputs.get("keyUsage", "ENCRYPT_DECRYPT"),
            Tags=[{"TagKey": k, "TagValue": v} for k, v in (inputs.get("tags") or {}).items()],
            **policy,
        )
        identity = str(made["KeyMetadata"]["KeyId"])
        if inputs.get("enableKeyRotation"):
            kms.enable_key_rotation(KeyId=identity)
        return identity

    def read(self, account: Account, identity: str) -> Plain | None:
        kms = account.client("kms")
        try:
            found = kms.describe_key(KeyId=identity)["KeyMetadata"]
        except ClientError as error:
            if missing(error):
                return None
            raise
        if found["KeyState"] == "PendingDeletion":
            return None
        rotated = (
            found["KeySpec"] == "SYMMETRIC_DEFAULT"
            and (kms.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"])
        )
        tags = kms.list_resource_tags(KeyId=identity)["Tags"]
        return {
            "arn": found["Arn"],
            "keyId": identity,
            "description": found["Description"],
            "customerMasterKeySpec": found["KeySpec"],
            "keyUsage": found["KeyUsage"],
            "isEnabled": found["Enabled"],
            "enableKeyRotation": rotated,
            "policy": kms.get_key_policy(KeyId=identity, PolicyName="default")["Policy"],
            **tags_of({"Key": tag["TagKey"], "Value": tag["TagValue"]} for tag in tags),
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        kms = account.client("kms")
        kms.update_key_description(KeyId=identity, Description=new.get("description", ""))
        if "policy" in new:
            kms.put_key_policy(KeyId=identity, PolicyName="default", Policy=new["policy"])
        if changed(old, new, "enableKeyRotation"):
            rotates = new.get("enableKeyRotation")
            (kms.enable_key_rotation if rotates else kms.disable_key_rotation)(KeyId=identity)
        if removed := gone(old, new):
            kms.untag_resource(KeyId=identity, TagKeys=removed)
        tags = [{"TagKey": k, "TagValue": v} for k, v in (new.get("tags") or {}).items()]
        kms.tag_resource(KeyId=identity, Tags=tags)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("kms").schedule_key_deletion(
            KeyId=identity, PendingWindowInDays=inputs.get("deletionWindowInDays", 30)
        )


class Alias(Kind):
    token = "aws:kms/alias:Alias"
    force_new = frozenset({"name", "namePrefix"})
    name = "name"

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("kms").create_alias(
            AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"]
        )
        return str(inputs["name"])

    def read(self, account: Account, identity: str) -> Plain | None:
        for alias in account.client("kms").list_aliases()["Aliases"]:
            if alias["AliasName"] == identity and "TargetKeyId" in alias:
                return {
                    "arn": alias["AliasArn"],
                    "name": identity,
                    "targetKeyId": alias["TargetKeyId"],
                }
        return None

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        account.client("kms").update_alias(AliasName=identity, TargetKeyId=new["targetKeyId"])

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("kms").delete_alias(AliasName=identity)


KINDS: tuple[Kind, ...] = (Role(), RolePolicy(), RolePolicyAttachment(), Key(), Alias())
