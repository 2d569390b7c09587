"""Policies as the programs of the stacks would apply them, taken from a run on Pulumi's mocks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.object_store import ObjectStoreAccess
from registry.release import StepKind
from stacks.config.images import Images
from stacks.config.storage import BucketStorage
from stacks.contract import AwsPlace
from stacks.policies.names import Account
from stacks.programs.cluster.context import Aws, Cluster, Workload
from stacks.programs.cluster.storage import declare_storage
from stacks.programs.job_identities import declare_job_identities
from tests.components.declared import Program, declare

ACCOUNT = Account(account="123456789012", region="eu-central-1", prefix="pipeline-prod")
BREAK_GLASS = "arn:aws:iam::123456789012:role/break-glass"
DOMAINS = ("bank", "bank-ledger", "ledger", "v1")
"""Names that begin and end alike, and one that looks like a version."""
CONFIG = BucketStorage.model_validate(
    {
        "kind": "buckets",
        "people": {
            "approvers": {
                "lead-a": "arn:aws:iam::123456789012:role/experts/a",
                "lead-b": "arn:aws:iam::123456789012:role/experts/b",
            },
            "releasers": ["arn:aws:iam::123456789012:role/on-call"],
            "break_glass": BREAK_GLASS,
        },
    }
)
_IMAGE = f"registry.example/image@sha256:{'0' * 64}"
_TAGS = {"environment": "prod"}
ANSWERS = {
    "aws:kms/getPublicKey:getPublicKey": lambda arguments: {
        "publicKeyPem": f"public half of {arguments['keyId']}"
    }
}
_KINDS: tuple[StepKind, ...] = get_args(StepKind)


@dataclass(frozen=True)
class Policies:
    """Everything that decides about a request."""

    roles: Mapping[str, Any]
    """Policy by ARN of the role."""
    trusts: Mapping[str, Any]
    """Trust policy by ARN of the role."""
    buckets: Mapping[str, Any]
    """Policy by name of the bucket."""
    keys: Mapping[str, Any]
    """Policy by ARN of the key."""


@cache
def declared() -> Policies:
    """Policies of an environment, and of the domains in it."""
    program = declare(_build, answers=ANSWERS)
    arns = {
        each.inputs["name"]: f"arn:aws:iam::{ACCOUNT.account}:role{each.inputs['path']}"
        f"{each.inputs['name']}"
        for each in program.of_type("aws:iam/role:Role")
    }
    return Policies(
        roles={
            arns[each.inputs["role"]]: json.loads(each.inputs["policy"])
            for each in program.of_type("aws:iam/rolePolicy:RolePolicy")
        },
        trusts={
            arns[each.inputs["name"]]: json.loads(each.inputs["assumeRolePolicy"])
            for each in program.of_type("aws:iam/role:Role")
        },
        buckets={
            each.inputs["bucket"]: json.loads(each.inputs["policy"])
            for each in program.of_type("aws:s3/bucketPolicy:BucketPolicy")
        },
        keys={
            key_arn(each.name): json.loads(each.inputs["policy"])
            for each in program.of_type("aws:kms/key:Key")
        },
    )


def environment() -> Program:
    """What an environment declares of storage and roles."""
    return declare(_environment, answers=ANSWERS)


def key_arn(name: str) -> str:
    """ARN that the mocks give a key."""
    return f"arn:aws:kms:eu-central-1:123456789012:key/{name}"


STORAGE_KEY = key_arn("prod-storage-objects")
SIGNING_KEY = key_arn("prod-storage-verdicts")


def workload_role(workload: Workload) -> str:
    """ARN of the role of a workload that has its pods for itself."""
    return _arn(f"pods-{workload}", None)


def job_role(domain: str, kind: StepKind) -> str:
    """ARN of the role of a domain's jobs of one kind."""
    return _arn(f"{domain}-{kind}", kind)


def people_role(capacity: Any, *who: str) -> str:
    """ARN of a role that people assume."""
    return _arn("-".join(("people", capacity, *who)), capacity)


def inputs_of(domain: str, kind: StepKind) -> Sequence[str]:
    """What a domain's jobs fetch, as `stacks.job_specs` names it."""
    datasets, model = f"s3://{ACCOUNT.bucket('datasets')}/{domain}", _model()
    train, heldout = f"{datasets}/train.jsonl", f"{datasets}/heldout.jsonl"
    fetched: dict[StepKind, tuple[str, ...]] = {
        "dataset": (train, heldout, model),
        "train": (train, model),
        "publish": (model,),
        "evaluate": (train, heldout),
        "release": (),
    }
    return fetched[kind]


def _model() -> str:
    return f"s3://{ACCOUNT.bucket('models')}/llama-8b/"


def _arn(name: str, capacity: Any) -> str:
    path = ACCOUNT.role_path(capacity)
    return f"arn:aws:iam::{ACCOUNT.account}:role{path}{ACCOUNT.role_name(name)}"


def _build() -> None:
    _environment()
    place = AwsPlace(
        account=ACCOUNT.account,
        region=ACCOUNT.region,
        prefix=ACCOUNT.prefix,
        cluster="pipeline-prod",
        storage_key=STORAGE_KEY,
        signing_key=SIGNING_KEY,
        tags=_TAGS,
    )
    provider = aws.Provider("domains", region="eu-central-1")
    for domain in DOMAINS:
        inputs = {kind: inputs_of(domain, kind) for kind in _KINDS}
        declare_job_identities(
            place, provider, namespace="pipeline-training", domain=domain, inputs=inputs
        )


def _environment() -> None:
    storage = declare_storage(CONFIG, cluster(), prefix=ACCOUNT.prefix)
    for workload in get_args(Workload):
        storage.bind([workload], namespace="pods", service_account=workload)


def cluster() -> Cluster:
    """A cluster in the account."""
    place = Aws(
        provider=aws.Provider("aws", region=ACCOUNT.region),
        account=ACCOUNT.account,
        region=ACCOUNT.region,
        vpc_id=pulumi.Output.from_input("vpc-1"),
        vpc_cidr="10.0.0.0/16",
        private_subnets={},
        cluster_name=pulumi.Output.from_input("pipeline-prod"),
        cluster_security_group=pulumi.Output.from_input("sg-1"),
        ready=(),
    )
    return Cluster(
        environment="prod",
        kubernetes=kubernetes.Provider("cluster", kubeconfig="{}"),
        aws=place,
        images=Images(**dict.fromkeys(Images.model_fields, _IMAGE)),
        operators=frozenset(),
        api_server="10.0.0.1/32",
        object_store=ObjectStoreAccess(),
        tags=_TAGS,
    )
