"""Control planes, node groups, and what moto's EKS has not: add-ons, access, Pod Identity."""

import hashlib
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.engine.aws.account import Account, AwsError, missing
from tests.engine.aws.kind import Kind, Remembered
from tests.engine.aws.shapes import gone, some, tagged
from tests.engine.aws.values import Plain


class Cluster(Kind):
    """Versions, protection and access settings are in memory: moto keeps none of them.

    As EKS does, it makes a security group for the control plane and the nodes.
    """

    token = "aws:eks/cluster:Cluster"
    force_new = frozenset(
        {
            "name",
            "roleArn",
            "bootstrapSelfManagedAddons",
            "encryptionConfig",
            "kubernetesNetworkConfig.serviceIpv4Cidr",
            "kubernetesNetworkConfig.ipFamily",
            "accessConfig.bootstrapClusterCreatorAdminPermissions",
            "outpostConfig",
        }
    )
    name = "name"
    _REMEMBERED: ClassVar = (
        "version",
        "deletionProtection",
        "accessConfig",
        "upgradePolicy",
        "bootstrapSelfManagedAddons",
    )

    def create(self, account: Account, inputs: Plain) -> str:
        eks = account.client("eks")
        eks.create_cluster(
            name=inputs["name"],
            roleArn=inputs["roleArn"],
            **some(inputs, "version"),
            resourcesVpcConfig=inputs["vpcConfig"],
            kubernetesNetworkConfig=inputs.get("kubernetesNetworkConfig", {}),
            logging=_logging(inputs),
            encryptionConfig=[inputs["encryptionConfig"]] if "encryptionConfig" in inputs else [],
            tags=inputs.get("tags", {}),
        )
        vpc = _vpc_of(account, inputs["vpcConfig"]["subnetIds"][0])
        group = account.client("ec2").create_security_group(
            GroupName=f"eks-cluster-sg-{inputs['name']}", Description="made by EKS", VpcId=vpc
        )
        remembered = some(inputs, *self._REMEMBERED)
        network = {"clusterSecurityGroupId": group["GroupId"], "vpcId": vpc}
        account.memory[self.token][inputs["name"]] = {**remembered, "network": network}
        return str(inputs["name"])

    def read(self, account: Account, identity: str) -> Plain | None:
        try:
            found = account.client("eks").describe_cluster(name=identity)["cluster"]
        except ClientError as error:
            if missing(error):
                return None
            raise
        remembered = dict(account.memory[self.token][identity])
        network = remembered.pop("network")
        kept = ("name", "arn", "endpoint", "status", "version", "roleArn", "certificateAuthority")
        encryption = found.get("encryptionConfig") or [None]
        return {
            **some(found, *kept),
            **remembered,
            "vpcConfig": {**found["resourcesVpcConfig"], **network},
            "kubernetesNetworkConfig": found["kubernetesNetworkConfig"],
            "enabledClusterLogTypes": [
                kind for each in found["logging"]["clusterLogging"] for kind in _enabled(each)
            ],
            "encryptionConfig": encryption[0],
            "identities": [{"oidcs": [{"issuer": found["identity"]["oidc"]["issuer"]}]}],
            **tagged(found.get("tags")),
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        eks = account.client("eks")
        eks.update_cluster_config(
            name=identity, resourcesVpcConfig=new["vpcConfig"], logging=_logging(new)
        )
        account.memory[self.token][identity] |= some(new, *self._REMEMBERED)
        _retag(eks, eks.describe_cluster(name=identity)["cluster"]["arn"], old, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        remembered = account.memory[self.token][identity]
        if remembered.get("deletionProtection"):
            raise AwsError(
                f"InvalidRequestException: cluster {identity} has deletion protection enabled"
            )
        account.client("eks").delete_cluster(name=identity)
        group = remembered["network"]["clusterSecurityGroupId"]
        account.client("ec2").delete_security_group(GroupId=group)
        del account.memory[self.token][identity]


def _logging(inputs: Plain) -> Plain:
    types = inputs.get("enabledClusterLogTypes") or []
    return {"clusterLogging": [{"types": types, "enabled": True}]} if types else {}


def _enabled(logging: Plain) -> list[str]:
    return list(logging["types"]) if logging["enabled"] else []


def _vpc_of(account: Account, subnet: str) -> str:
    found = account.client("ec2").describe_subnets(SubnetIds=[subnet])
    return str(found["Subnets"][0]["VpcId"])


def _retag(eks: Any, arn: str, old: Plain, new: Plain) -> None:
    if removed := gone(old, new):
        eks.untag_resource(resourceArn=arn, tagKeys=removed)
    if new.get("tags"):
        eks.tag_resource(resourceArn=arn, tags=new["tags"])


class NodeGroup(Kind):
    """Its versions, and its tags after an update, are in memory: moto changes neither."""

    token = "aws:eks/nodeGroup:NodeGroup"
    force_new = frozenset(
        {
            "amiType",
            "capacityType",
            "clusterName",
            "diskSize",
            "instanceTypes",
            "launchTemplate.id",
            "launchTemplate.name",
            "nodeGroupName",
            "nodeGroupNamePrefix",
            "nodeRoleArn",
            "remoteAccess",
            "subnetIds",
        }
    )
    name = "nodeGroupName"
    _REMEMBERED: ClassVar = ("version", "releaseVersion", "launchTemplate")
    _KEPT: ClassVar = (
        "clusterName",
        "amiType",
        "capacityType",
        "diskSize",
        "instanceTypes",
        "labels",
        "scalingConfig",
        "taints",
        "updateConfig",
        "nodeRepairConfig",
        "status",
        "version",
        "releaseVersion",
    )

    def create(self, account: Account, inputs: Plain) -> str:
        eks = account.client("eks")
        kept = some(
            inputs, "clusterName", "amiType", "capacityType", "diskSize", "instanceTypes", "labels"
        )
        names = {"clusterName": inputs["clusterName"], "nodegroupName": inputs["nodeGroupName"]}
        eks.create_nodegroup(
            **kept,
            nodegroupName=inputs["nodeGroupName"],
            nodeRole=inputs["nodeRoleArn"],
            subnets=inputs["subnetIds"],
            scalingConfig=inputs["scalingConfig"],
            taints=inputs.get("taints", []),
            tags=inputs.get("tags", {}),
            **some(inputs, "launchTemplate", "version", "releaseVersion"),
        )
        identity = f"{names['clusterName']}:{names['nodegroupName']}"
        if settings := some(inputs, "updateConfig", "nodeRepairConfig"):
            eks.update_nodegroup_config(**names, **settings)
        account.memory[self.token][identity] = some(inputs, *self._REMEMBERED)
        return identity

    def read(self, account: Account, identity: str) -> Plain | None:
        cluster, group = identity.split(":")
        try:
            found = account.client("eks").describe_nodegroup(
                clusterName=cluster, nodegroupName=group
            )["nodegroup"]
        except ClientError as error:
            if missing(error):
                return None
            raise
        groups = found["resources"]["autoScalingGroups"]
        return {
            **some(found, *self._KEPT),
            "arn": found["nodegroupArn"],
            "nodeGroupName": found["nodegroupName"],
            "nodeRoleArn": found["nodeRole"],
            "subnetIds": found["subnets"],
            "resources": [{"autoscalingGroups": groups}],
            **tagged(found.get("tags")),
            **account.memory[self.token].get(identity, {}),
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        eks = account.client("eks")
        cluster, group = identity.split(":")
        names = {"clusterName": cluster, "nodegroupName": group}
        labels = {"addOrUpdateLabels": new.get("labels", {})}
        if removed := gone(old, new, "labels"):
            labels["removeLabels"] = removed
        taints = {
            "removeTaints": old.get("taints", []),
            "addOrUpdateTaints": new.get("taints", []),
        }
        eks.update_nodegroup_config(
            **names, labels=labels, taints={"removeTaints": taints["removeTaints"]}
        )
        eks.update_nodegroup_config(
            **names,
            taints={"addOrUpdateTaints": taints["addOrUpdateTaints"]},
            **some(new, "scalingConfig", "updateConfig", "nodeRepairConfig"),
        )
        remembered = some(new, *self._REMEMBERED)
        account.memory[self.token][identity] = {**remembered, **tagged(new.get("tags"))}

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        cluster, group = identity.split(":")
        account.client("eks").delete_nodegroup(clusterName=cluster, nodegroupName=group)
        account.memory[self.token].pop(identity, None)


class _OfCluster(Remembered):
    """What a cluster has; EKS refuses it without the cluster."""

    keys: ClassVar[tuple[str, ...]]
    """Inputs that the id is made of."""

    def identity(self, account: Account, inputs: Plain) -> str:
        account.client("eks").describe_cluster(name=inputs["clusterName"])
        return ":".join(str(inputs[key]) for key in self.keys)

    def arn(self, account: Account, kind: str, identity: str) -> str:
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return account.arn("eks", f"{kind}/{identity.replace(':', '/')}/{digest}")


class Addon(_OfCluster):
    token = "aws:eks/addon:Addon"
    force_new = frozenset({"clusterName", "addonName"})
    keys = ("clusterName", "addonName")

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        version = inputs.get("addonVersion", "v1.0.0-eksbuild.1")
        tags = tagged(inputs.get("tags"))
        return {"arn": self.arn(account, "addon", identity), "addonVersion": version, **tags}


class AccessEntry(_OfCluster):
    token = "aws:eks/accessEntry:AccessEntry"
    force_new = frozenset({"clusterName", "principalArn", "type"})
    keys = ("clusterName", "principalArn")

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        arn = self.arn(account, "access-entry", identity)
        return {"accessEntryArn": arn, **tagged(inputs.get("tags"))}


class AccessPolicyAssociation(_OfCluster):
    token = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
    force_new = frozenset({"clusterName", "principalArn", "policyArn", "accessScope"})
    keys = ("clusterName", "principalArn", "policyArn")

    def identity(self, account: Account, inputs: Plain) -> str:
        entry = f"{inputs['clusterName']}:{inputs['principalArn']}"
        if entry not in account.memory[AccessEntry.token]:
            raise AwsError(f"ResourceNotFoundException: there is no access entry {entry}")
        return super().identity(account, inputs)


class PodIdentityAssociation(_OfCluster):
    """A ServiceAccount has one role: EKS refuses a second association."""

    token = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    force_new = frozenset({"clusterName", "namespace", "serviceAccount"})
    keys = ("clusterName", "namespace", "serviceAccount")

    def identity(self, account: Account, inputs: Plain) -> str:
        role = str(inputs["roleArn"]).rpartition("/")[2]
        account.client("iam").get_role(RoleName=role)
        return super().identity(account, inputs)

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        return {
            "associationArn": self.arn(account, "podidentityassociation", identity),
            "associationId": f"a-{hashlib.sha256(identity.encode()).hexdigest()[:17]}",
            **tagged(inputs.get("tags")),
        }


KINDS: tuple[Kind, ...] = (
    Cluster(),
    NodeGroup(),
    Addon(),
    AccessEntry(),
    AccessPolicyAssociation(),
    PodIdentityAssociation(),
)
