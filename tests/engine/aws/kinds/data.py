"""Databases, caches, secrets and logs."""

from typing import Any, ClassVar

from botocore.exceptions import ClientError

from tests.engine.aws.account import Account, AwsError, missing
from tests.engine.aws.kind import Kind, Remembered
from tests.engine.aws.shapes import (
    capitalised,
    changed,
    gone,
    lowered,
    some,
    tag_list,
    tagged,
    tags_of,
)
from tests.engine.aws.values import Plain


class DbKind(Kind):
    """What RDS describes by its name and tags by its ARN."""

    describe: ClassVar[tuple[str, str, str]]
    """Method, its argument for the name, and the key of the result."""
    arn: ClassVar[str]
    """Key of the ARN in the result."""

    def described(self, account: Account, identity: str) -> Plain | None:
        """What the API says of it."""
        method, argument, result = self.describe
        try:
            answer = getattr(account.client("rds"), method)(**{argument: identity})
        except ClientError as error:
            if missing(error):
                return None
            raise
        found: list[Plain] = answer[result]
        return found[0] if found else None

    def read(self, account: Account, identity: str) -> Plain | None:
        found = self.described(account, identity)
        if found is None:
            return None
        arn = found[self.arn]
        tags = account.client("rds").list_tags_for_resource(ResourceName=arn)["TagList"]
        return {**self.properties(account, found), "arn": arn, **tags_of(tags)}

    def properties(self, account: Account, found: Plain) -> Plain:
        """Its properties, without ARN and tags."""
        raise NotImplementedError

    def retag(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        """Bring its tags to new inputs."""
        rds, found = account.client("rds"), self.described(account, identity)
        if found is None:
            raise AwsError(f"there is no {self.token} {identity}")
        if removed := gone(old, new):
            rds.remove_tags_from_resource(ResourceName=found[self.arn], TagKeys=removed)
        rds.add_tags_to_resource(ResourceName=found[self.arn], Tags=tag_list(new.get("tags")))


class DbSubnetGroup(DbKind):
    token = "aws:rds/subnetGroup:SubnetGroup"
    force_new = frozenset({"name", "namePrefix"})
    name = "name"
    describe = ("describe_db_subnet_groups", "DBSubnetGroupName", "DBSubnetGroups")
    arn = "DBSubnetGroupArn"

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("rds").create_db_subnet_group(
            DBSubnetGroupName=inputs["name"],
            DBSubnetGroupDescription=inputs.get("description", "Managed by Pulumi"),
            SubnetIds=inputs["subnetIds"],
            Tags=tag_list(inputs.get("tags")),
        )
        return str(inputs["name"])

    def properties(self, account: Account, found: Plain) -> Plain:
        return {
            "name": found["DBSubnetGroupName"],
            "description": found["DBSubnetGroupDescription"],
            "subnetIds": [subnet["SubnetIdentifier"] for subnet in found["Subnets"]],
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        # moto loses a group that is modified: other changes are refused by the reading back.
        self.retag(account, identity, old, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("rds").delete_db_subnet_group(DBSubnetGroupName=identity)


class DbParameterGroup(DbKind):
    token = "aws:rds/parameterGroup:ParameterGroup"
    force_new = frozenset({"name", "namePrefix", "family", "description"})
    name = "name"
    describe = ("describe_db_parameter_groups", "DBParameterGroupName", "DBParameterGroups")
    arn = "DBParameterGroupArn"

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("rds").create_db_parameter_group(
            DBParameterGroupName=inputs["name"],
            DBParameterGroupFamily=inputs["family"],
            Description=inputs.get("description", "Managed by Pulumi"),
            Tags=tag_list(inputs.get("tags")),
        )
        self._set(account, inputs)
        return str(inputs["name"])

    @staticmethod
    def _set(account: Account, inputs: Plain) -> None:
        parameters = [
            {
                "ParameterName": each["name"],
                "ParameterValue": each["value"],
                "ApplyMethod": each.get("applyMethod", "immediate"),
            }
            for each in inputs.get("parameters") or ()
        ]
        if parameters:
            account.client("rds").modify_db_parameter_group(
                DBParameterGroupName=inputs["name"], Parameters=parameters
            )

    def properties(self, account: Account, found: Plain) -> Plain:
        parameters = account.client("rds").describe_db_parameters(
            DBParameterGroupName=found["DBParameterGroupName"]
        )["Parameters"]
        return {
            "name": found["DBParameterGroupName"],
            "family": found["DBParameterGroupFamily"],
            "description": found["Description"],
            "parameters": [
                {
                    "name": each["ParameterName"],
                    "value": each["ParameterValue"],
                    "applyMethod": each["ApplyMethod"],
                }
                for each in parameters
            ],
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        self._set(account, new)
        self.retag(account, identity, old, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("rds").delete_db_parameter_group(DBParameterGroupName=identity)


class DbInstance(DbKind):
    """Deleting one leaves the final snapshot that it names."""

    token = "aws:rds/instance:Instance"
    force_new = frozenset(
        {
            "availabilityZone",
            "dbName",
            "dbSubnetGroupName",
            "engine",
            "identifierPrefix",
            "kmsKeyId",
            "storageEncrypted",
            "username",
        }
    )
    name = "identifier"
    # moto keeps no Performance Insights, nobody gives a password back, and the others say how to
    # change and delete it.
    not_kept = frozenset(
        {
            "performanceInsightsEnabled",
            "performanceInsightsRetentionPeriod",
            "allowMajorVersionUpgrade",
            "applyImmediately",
            "deleteAutomatedBackups",
            "finalSnapshotIdentifier",
            "password",
            "skipFinalSnapshot",
        }
    )
    describe = ("describe_db_instances", "DBInstanceIdentifier", "DBInstances")
    arn = "DBInstanceArn"
    _SAME: ClassVar = (
        "allocatedStorage",
        "autoMinorVersionUpgrade",
        "backupRetentionPeriod",
        "copyTagsToSnapshot",
        "deletionProtection",
        "engine",
        "engineVersion",
        "iops",
        "kmsKeyId",
        "manageMasterUserPassword",
        "masterUserSecretKmsKeyId",
        "maxAllocatedStorage",
        "monitoringInterval",
        "performanceInsightsRetentionPeriod",
        "port",
        "publiclyAccessible",
        "storageEncrypted",
        "storageType",
        "vpcSecurityGroupIds",
    )
    _NAMES: ClassVar = {
        "caCertIdentifier": "CACertificateIdentifier",
        "dbName": "DBName",
        "dbSubnetGroupName": "DBSubnetGroupName",
        "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
        "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
        "identifier": "DBInstanceIdentifier",
        "instanceClass": "DBInstanceClass",
        "multiAz": "MultiAZ",
        "parameterGroupName": "DBParameterGroupName",
        "password": "MasterUserPassword",
        "performanceInsightsEnabled": "EnablePerformanceInsights",
        "username": "MasterUsername",
    }
    _NOT_MODIFIED: ClassVar = frozenset(
        {"engine", "kmsKeyId", "storageEncrypted", "username", "dbName", "dbSubnetGroupName"}
    )

    def _arguments(self, inputs: Plain) -> Plain:
        named = {self._NAMES[key]: value for key, value in inputs.items() if key in self._NAMES}
        return {**capitalised(some(inputs, *self._SAME)), **named}

    def create(self, account: Account, inputs: Plain) -> str:
        account.client("rds").create_db_instance(
            **self._arguments(inputs), Tags=tag_list(inputs.get("tags"))
        )
        return str(inputs["identifier"])

    def properties(self, account: Account, found: Plain) -> Plain:
        endpoint = found.get("Endpoint", {})
        groups = found.get("DBParameterGroups") or [{}]
        secret = found.get("MasterUserSecret")
        return {
            **some(lowered(found), *self._SAME),
            "address": endpoint.get("Address"),
            "endpoint": f"{endpoint.get('Address')}:{endpoint.get('Port')}",
            "hostedZoneId": endpoint.get("HostedZoneId"),
            "status": found.get("DBInstanceStatus"),
            "caCertIdentifier": found.get("CACertificateIdentifier"),
            "dbName": found.get("DBName"),
            "dbSubnetGroupName": found.get("DBSubnetGroup", {}).get("DBSubnetGroupName"),
            "enabledCloudwatchLogsExports": found.get("EnabledCloudwatchLogsExports"),
            "identifier": found["DBInstanceIdentifier"],
            "instanceClass": found["DBInstanceClass"],
            "multiAz": found.get("MultiAZ"),
            "parameterGroupName": groups[0].get("DBParameterGroupName"),
            "performanceInsightsEnabled": found.get("PerformanceInsightsEnabled"),
            "username": found.get("MasterUsername"),
            "manageMasterUserPassword": secret is not None,
            # The first answers of moto say "creating".
            "masterUserSecrets": [{**lowered(secret), "secretStatus": "active"}] if secret else [],
            "vpcSecurityGroupIds": [
                group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", ())
            ],
        }

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        differing = {
            key: value
            for key, value in new.items()
            if value != old.get(key) and key not in self._NOT_MODIFIED
        }
        arguments = self._arguments(differing)
        exports = arguments.pop("EnableCloudwatchLogsExports", None)
        if exports is not None:
            arguments["CloudwatchLogsExportConfiguration"] = {"EnableLogTypes": exports}
        if arguments:
            arguments["DBInstanceIdentifier"] = identity
            account.client("rds").modify_db_instance(ApplyImmediately=True, **arguments)
        self.retag(account, identity, old, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        last = inputs.get("finalSnapshotIdentifier")
        account.client("rds").delete_db_instance(
            DBInstanceIdentifier=identity,
            SkipFinalSnapshot=inputs.get("skipFinalSnapshot", False),
            **({"FinalDBSnapshotIdentifier": last} if last else {}),
        )


class CacheSubnetGroup(Remembered):
    """moto makes one and never deletes it."""

    token = "aws:elasticache/subnetGroup:SubnetGroup"
    force_new = frozenset({"name"})
    name = "name"

    def identity(self, account: Account, inputs: Plain) -> str:
        account.client("ec2").describe_subnets(SubnetIds=inputs["subnetIds"])
        return str(inputs["name"])

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        arn = account.arn("elasticache", f"subnetgroup:{identity}")
        return {"arn": arn, **tagged(inputs.get("tags"))}


class CacheParameterGroup(Remembered):
    token = "aws:elasticache/parameterGroup:ParameterGroup"
    force_new = frozenset({"name", "family", "description"})
    name = "name"

    def identity(self, account: Account, inputs: Plain) -> str:
        return str(inputs["name"])

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        arn = account.arn("elasticache", f"parametergroup:{identity}")
        return {"arn": arn, **tagged(inputs.get("tags"))}


class ReplicationGroup(Remembered):
    """moto's keeps less than half of its settings, and changes none of them."""

    token = "aws:elasticache/replicationGroup:ReplicationGroup"
    force_new = frozenset(
        {
            "atRestEncryptionEnabled",
            "kmsKeyId",
            "port",
            "replicationGroupId",
            "securityGroupNames",
            "snapshotArns",
            "snapshotName",
            "subnetGroupName",
            "dataTieringEnabled",
        }
    )

    def identity(self, account: Account, inputs: Plain) -> str:
        needed = {
            CacheSubnetGroup.token: inputs.get("subnetGroupName"),
            CacheParameterGroup.token: inputs.get("parameterGroupName"),
        }
        for token, name in needed.items():
            if name is not None and name not in account.memory[token]:
                raise AwsError(f"there is no {token} {name}")
        account.client("ec2").describe_security_groups(GroupIds=inputs["securityGroupIds"])
        return str(inputs["replicationGroupId"])

    def outputs(self, account: Account, identity: str, inputs: Plain) -> Plain:
        domain = f"{identity}.stand-in.{account.region}.cache.amazonaws.com"
        return {
            "arn": account.arn("elasticache", f"replicationgroup:{identity}"),
            "primaryEndpointAddress": f"master.{domain}",
            "readerEndpointAddress": f"replica.{domain}",
            **tagged(inputs.get("tags")),
        }


class Secret(Kind):
    """Deleting one sets its date: what waits for deletion counts as gone."""

    token = "aws:secretsmanager/secret:Secret"
    force_new = frozenset({"name", "namePrefix"})
    name = "name"
    # They say how a deletion and replicas are made.
    not_kept = frozenset({"recoveryWindowInDays", "forceOverwriteReplicaSecret"})

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("secretsmanager").create_secret(
            Name=inputs["name"],
            Tags=tag_list(inputs.get("tags")),
            **capitalised(some(inputs, "description", "kmsKeyId")),
        )
        return str(made["ARN"])

    def read(self, account: Account, identity: str) -> Plain | None:
        try:
            found = account.client("secretsmanager").describe_secret(SecretId=identity)
        except ClientError as error:
            if missing(error):
                return None
            raise
        if found.get("DeletedDate"):
            return None
        kept = lowered(some(found, "Name", "Description", "KmsKeyId"))
        return {"arn": identity, **kept, **tags_of(found.get("Tags"))}

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        client = account.client("secretsmanager")
        if changed(old, new, "description", "kmsKeyId"):
            client.update_secret(
                SecretId=identity, **capitalised(some(new, "description", "kmsKeyId"))
            )
        if removed := gone(old, new):
            client.untag_resource(SecretId=identity, TagKeys=removed)
        client.tag_resource(SecretId=identity, Tags=tag_list(new.get("tags")))

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("secretsmanager").delete_secret(
            SecretId=identity, RecoveryWindowInDays=inputs.get("recoveryWindowInDays", 30)
        )


class SecretVersion(Kind):
    token = "aws:secretsmanager/secretVersion:SecretVersion"
    force_new = frozenset({"secretId", "secretString", "secretBinary"})

    def create(self, account: Account, inputs: Plain) -> str:
        made = account.client("secretsmanager").put_secret_value(
            SecretId=inputs["secretId"], SecretString=inputs["secretString"]
        )
        return f"{inputs['secretId']}|{made['VersionId']}"

    def read(self, account: Account, identity: str) -> Plain | None:
        secret, version = identity.split("|")
        try:
            found = account.client("secretsmanager").get_secret_value(
                SecretId=secret, VersionId=version
            )
        except ClientError as error:
            # A secret that waits for deletion has no values.
            if missing(error) or error.response["Error"]["Code"] == "InvalidRequestException":
                return None
            raise
        return {
            "arn": secret,
            "secretId": secret,
            "secretString": found["SecretString"],
            "versionId": version,
            "versionStages": found["VersionStages"],
        }

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        """AWS keeps versions with the stage AWSCURRENT: they go with the secret."""


class SecretRotation(Kind):
    token = "aws:secretsmanager/secretRotation:SecretRotation"
    force_new = frozenset({"secretId"})
    # It says when the first rotation is.
    not_kept = frozenset({"rotateImmediately"})

    def create(self, account: Account, inputs: Plain) -> str:
        self._rotate(account, inputs)
        return str(inputs["secretId"])

    @staticmethod
    def _rotate(account: Account, inputs: Plain) -> None:
        account.client("secretsmanager").rotate_secret(
            SecretId=inputs["secretId"],
            RotationRules=capitalised(inputs["rotationRules"]),
            RotateImmediately=inputs.get("rotateImmediately", True),
        )

    def read(self, account: Account, identity: str) -> Plain | None:
        try:
            found = account.client("secretsmanager").describe_secret(SecretId=identity)
        except ClientError as error:
            if missing(error):
                return None
            raise
        if not found.get("RotationEnabled"):
            return None
        return {"secretId": identity, "rotationRules": lowered(found["RotationRules"])}

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        self._rotate(account, new)

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("secretsmanager").cancel_rotate_secret(SecretId=identity)


class LogGroup(Kind):
    token = "aws:cloudwatch/logGroup:LogGroup"
    force_new = frozenset({"name", "namePrefix", "logGroupClass"})
    name = "name"
    # It says what a deletion does.
    not_kept = frozenset({"skipDestroy"})

    def create(self, account: Account, inputs: Plain) -> str:
        logs = account.client("logs")
        logs.create_log_group(
            logGroupName=inputs["name"], tags=inputs.get("tags", {}), **some(inputs, "kmsKeyId")
        )
        self._keep(logs, inputs)
        return str(inputs["name"])

    @staticmethod
    def _keep(logs: Any, inputs: Plain) -> None:
        if days := inputs.get("retentionInDays"):
            logs.put_retention_policy(logGroupName=inputs["name"], retentionInDays=days)

    def read(self, account: Account, identity: str) -> Plain | None:
        logs = account.client("logs")
        for group in logs.describe_log_groups(logGroupNamePrefix=identity)["logGroups"]:
            if group["logGroupName"] == identity:
                arn = group["arn"].removesuffix(":*")
                tags = logs.list_tags_for_resource(resourceArn=arn)["tags"]
                kept = some(group, "retentionInDays", "kmsKeyId")
                return {"arn": arn, "name": identity, **kept, **tagged(tags)}
        return None

    def update(self, account: Account, identity: str, old: Plain, new: Plain) -> None:
        logs = account.client("logs")
        self._keep(logs, new)
        arn = account.arn("logs", f"log-group:{identity}")
        if removed := gone(old, new):
            logs.untag_resource(resourceArn=arn, tagKeys=removed)
        logs.tag_resource(resourceArn=arn, tags=new.get("tags", {}))

    def delete(self, account: Account, identity: str, inputs: Plain) -> None:
        account.client("logs").delete_log_group(logGroupName=identity)


KINDS: tuple[Kind, ...] = (
    DbSubnetGroup(),
    DbParameterGroup(),
    DbInstance(),
    CacheSubnetGroup(),
    CacheParameterGroup(),
    ReplicationGroup(),
    Secret(),
    SecretVersion(),
    SecretRotation(),
    LogGroup(),
)
