"""A cluster to declare on, and an engine that knows some secrets.

Unlike AWS and Kubernetes, it checks nothing but that a secret is there.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs

from components.object_store import ObjectStoreAccess
from components.pods import POD_IDENTITY, NetworkPeer, SecretKey
from stacks.config.images import Images
from stacks.operators import Operator
from stacks.programs.cluster.context import Aws, Cluster, Workload
from stacks.programs.cluster.stores import ServiceStores
from tests.components.declared import Mocks

DIGEST = "@sha256:" + "0a" * 32
IMAGES = Images.model_validate(
    {name: f"registry.example.com/{name}{DIGEST}" for name in Images.model_fields}
)
ALL: frozenset[Operator] = frozenset(get_args(Operator))
KEY = "arn:aws:kms:eu-central-1:123456789012:key/stored"
STORES = ServiceStores(
    prefix="pipeline-prod",
    kms_key=KEY,
    mlflow_artifacts="s3://pipeline-prod-mlflow/artifacts",
    traces_uri="s3://pipeline-prod-traces",
)


class Engine(Mocks):
    """Knows the secrets of Secrets Manager by name, and those of the cluster by their id."""

    def __init__(
        self,
        manager: Mapping[str, Mapping[str, str]] | None = None,
        cluster: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__({})
        self.manager = manager or {}
        self.cluster = cluster or {}
        self.read: list[str] = []
        """Secrets whose values were read."""

    def call(self, args: MockCallArgs) -> Any:
        name = str(args.args.get("name") or args.args.get("secretId"))
        if name not in self.manager:
            return {}, [("name", f"ResourceNotFoundException: {name}")]
        if args.token == "aws:secretsmanager/getSecret:getSecret":
            return {"name": name, "arn": f"arn:{name}"}
        assert args.token == "aws:secretsmanager/getSecretVersion:getSecretVersion"
        self.read.append(name)
        return {"secretId": name, "secretString": json.dumps(self.manager[name])}

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if args.typ == "kubernetes:core/v1:Secret" and args.resource_id:
            if args.resource_id not in self.cluster:
                raise RuntimeError(f"resource {args.resource_id!r} does not exist")
            return args.resource_id, {"data": dict.fromkeys(self.cluster[args.resource_id], "eA==")}
        identity, outputs = super().new_resource(args)
        if args.typ == "aws:rds/instance:Instance":
            outputs["address"] = f"{args.inputs['identifier']}.rds.test"
            outputs["masterUserSecrets"] = [{"secretArn": f"arn:rds:{args.inputs['identifier']}"}]
        if args.typ == "aws:elasticache/replicationGroup:ReplicationGroup":
            outputs["primaryEndpointAddress"] = f"{args.name}.cache.test"
        return identity, outputs


class Binder:
    """Remembers whom roles were given to."""

    def __init__(self) -> None:
        self.bound: list[tuple[Workload, str, str]] = []

    def __call__(
        self, workload: Workload, namespace: str, service_account: str
    ) -> Sequence[pulumi.Resource]:
        self.bound.append((workload, namespace, service_account))
        return ()


def eks(operators: frozenset[Operator] = ALL) -> Cluster:
    """A cluster in an account."""
    return _cluster(
        aws=Aws(
            provider=aws.Provider("account", region="eu-central-1"),
            account="123456789012",
            region="eu-central-1",
            vpc_id=pulumi.Output.from_input("vpc-1"),
            vpc_cidr="10.0.0.0/16",
            private_subnets={
                f"eu-central-1{zone}": pulumi.Output.from_input(f"subnet-{zone}") for zone in "abc"
            },
            cluster_name=pulumi.Output.from_input("prod"),
            cluster_security_group=pulumi.Output.from_input("sg-nodes"),
            ready=(),
        ),
        object_store=ObjectStoreAccess(
            environment={"AWS_REGION": "eu-central-1"},
            peers=(POD_IDENTITY, NetworkPeer(cidr="10.0.0.0/16", port=443)),
        ),
        operators=operators,
    )


def existing(operators: frozenset[Operator] = frozenset()) -> Cluster:
    """A cluster that somebody else made."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return _cluster(
        aws=None,
        object_store=ObjectStoreAccess(
            environment={"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "http://10.1.0.9:9000"},
            secrets={name: SecretKey(secret="object-store", key=name) for name in names},
            peers=(NetworkPeer(cidr="10.1.0.9/32", port=9000),),
        ),
        operators=operators,
    )


def _cluster(
    *, aws: Aws | None, object_store: ObjectStoreAccess, operators: frozenset[Operator]
) -> Cluster:
    return Cluster(
        environment="prod",
        kubernetes=kubernetes.Provider("cluster"),
        aws=aws,
        images=IMAGES,
        operators=operators,
        api_server="10.0.0.1/32",
        object_store=object_store,
        tags={"environment": "prod"},
    )
