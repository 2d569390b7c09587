"""What instances are made from, and where they are placed."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.engine.aws.account import Account
from tests.engine.aws.kind import Kind, Remembered
from tests.engine.aws.kinds.network import Ec2Kind
from tests.engine.aws.shapes import capitalised, changed, lowered, tag_list, tags_of
from tests.engine.aws.values import Plain

_TRUTH = frozenset({"Encrypted", "DeleteOnTermination"})
"""Texts in the provider, truth values in the API."""


class LaunchTemplate(Ec2Kind):
    """Its contents are in numbered versions; a change makes a further one."""

    token = "aws:ec2/launchTemplate:LaunchTemplate"
    force_new = frozenset({"name", "namePrefix"})
    name = "name"
    # It says what an update does.
    not_kept = frozenset({"updateDefaultVersion"})
    resource = "launch-template"
    describe = ("describe_launch_templates", "LaunchTemplateIds", "LaunchTemplates")
    _OUTSIDE: ClassVar = frozenset({"name", "description", "updateDefaultVersion", "tags"})
    _GROUPS: ClassVar = {"vpcSecurityGroupIds": "securityGroupIds"}

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("ec2").create_launch_template(
            LaunchTemplateName=inputs["name"],
            VersionDescription=inputs.get("description", ""),
            LaunchTemplateData=self._data(inputs),
        )
        identity = str(made["LaunchTemplate"]["LaunchTemplateId"])
        # Tags that moto gets with the template never change, and are in its contents too.
        super().update(account, identity, {}, inputs)
        return identity

    def _data(self, inputs: Plain) -> Plain:
        data = {
            self._GROUPS.get(key, key): value
            for key, value in inputs.items()
            if key not in self._OUTSIDE
        }
        for interface in (interfaces := [dict(each) for each in data.get("networkInterfaces", [])]):
            interface["groups"] = interface.pop("securityGroups", [])
        specifications = [dict(each) for each in data.get("tagSpecifications", [])]
        for specification in specifications:
            specification["tags"] = tag_list(specification.get("tags"))
        data |= {"networkInterfaces": interfaces} if interfaces else {}
        data |= {"tagSpecifications": specifications} if specifications else {}
        found: Plain = _truth(capitalised(data))
        return found

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        super().update(account, identity, old, new)
        ec2 = account.client("ec2")
        if not changed(old, new, *({*old, *new} - self._OUTSIDE), "description"):
            return
        made = ec2.create_launch_template_version(
            LaunchTemplateId=identity,
            VersionDescription=new.get("description", ""),
            LaunchTemplateData=self._data(new),
        )
        if new.get("updateDefaultVersion"):
            number = str(made["LaunchTemplateVersion"]["VersionNumber"])
            ec2.modify_launch_template(LaunchTemplateId=identity, DefaultVersion=number)

    def read(self, account: Account, identity: str) -> Plain | None:
        found = super().read(account, identity)
        if found is None:
            return None
        version = account.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=identity, Versions=["$Latest"]
        )["LaunchTemplateVersions"][-1]
        data = lowered(version["LaunchTemplateData"])
        for interface in data.get("networkInterfaces", []):
            interface["securityGroups"] = interface.pop("groups", [])
        for specification in data.get("tagSpecifications", []):
            specification["tags"] = {
                tag["key"]: tag["value"] for tag in specification.get("tags", [])
            }
        tags = account.client("ec2").describe_tags(
            Filters=[{"Name": "resource-id", "Values": [identity]}]
        )["Tags"]
        groups = {"vpcSecurityGroupIds": data.pop("securityGroupIds", [])}
        described = {"description": version.get("VersionDescription")}
        return {**found, **data, **groups, **described, **tags_of(tags)}

    def properties(self, account: Account, found: Mapping[str, Any]) -> Plain:
        return {
            "arn": account.arn("ec2", f"launch-template/{found['LaunchTemplateId']}"),
            "name": found["LaunchTemplateName"],
            "latestVersion": found["LatestVersionNumber"],
            "defaultVersion": found["DefaultVersionNumber"],
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("ec2").delete_launch_template(LaunchTemplateId=identity)


def _truth(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item == "true" if key in _TRUTH and isinstance(item, str) else _truth(item)
            for key, item in value.items()
        }
    return [_truth(item) for item in value] if isinstance(value, list) else value


class PlacementGroup(Remembered):
    token = "aws:ec2/placementGroup:PlacementGroup"
    force_new = frozenset({"name", "strategy", "partitionCount", "spreadLevel"})
    name = "name"

    def identity(self, account: Account, inputs: Plain) -> str:
        return str(inputs["name"])

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        return {"arn": account.arn("ec2", f"placement-group/{identity}")}


KINDS: tuple[Kind, ...] = (LaunchTemplate(), PlacementGroup())
