"""What an environment declares of buckets, keys and roles."""

import json
from dataclasses import replace

import pulumi
import pytest

from stacks.config.storage import ExistingStorage
from stacks.programs.cluster.storage import Storage, declare_storage
from tests.components.declared import Program, declare
from tests.iam.policies import (
    ACCOUNT,
    ANSWERS,
    BREAK_GLASS,
    CONFIG,
    SIGNING_KEY,
    cluster,
    environment,
)
from tests.stacks.test_storage_config import EXISTING

BUCKET = "aws:s3/bucket:Bucket"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
SETTINGS = (
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
)
LOGGING = "aws:s3/bucketLogging:BucketLogging"


@pytest.fixture(scope="module")
def program() -> Program:
    return environment()


def test_the_counts_of_what_is_declared(program: Program) -> None:
    counts = program.counts()
    assert {type_: counts[type_] for type_ in (BUCKET, POLICY, *SETTINGS)} == dict.fromkeys(
        (BUCKET, POLICY, *SETTINGS), 7
    )
    assert counts[LOGGING] == 6
    assert counts["aws:kms/key:Key"] == counts["aws:kms/alias:Alias"] == 2
    # Each of two reviewers, and whoever moves pointers.
    workloads, people = 10, 3
    assert counts["aws:iam/role:Role"] == counts["aws:iam/rolePolicy:RolePolicy"] == 13
    assert counts["aws:eks/podIdentityAssociation:PodIdentityAssociation"] == workloads
    assert counts["pipeline:aws:Role"] == workloads + people


def test_buckets_and_keys_are_protected_and_named(program: Program) -> None:
    kept = [*program.of_type(BUCKET), *program.of_type("aws:kms/key:Key")]
    assert all(each.protect and each.inputs["tags"] == {"environment": "prod"} for each in kept)
    for bucket in program.of_type(BUCKET):
        assert bucket.inputs["bucket"].startswith("pipeline-prod-")
        assert len(bucket.inputs["bucket"]) <= 63
        assert "forceDestroy" not in bucket.inputs


def test_every_bucket_is_private_versioned_and_owned(program: Program) -> None:
    versioning, access, ownership, _, _ = (program.of_type(type_) for type_ in SETTINGS)
    assert all(each.inputs["versioningConfiguration"]["status"] == "Enabled" for each in versioning)
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    assert all(each.inputs[flag] is True for each in access for flag in flags)
    assert {each.inputs["rule"]["objectOwnership"] for each in ownership} == {"BucketOwnerEnforced"}
    buckets = {each.inputs["bucket"] for each in program.of_type(BUCKET)}
    for type_ in (POLICY, *SETTINGS):
        assert {each.inputs["bucket"] for each in program.of_type(type_)} == buckets


def test_objects_are_encrypted_with_one_question_to_kms(program: Program) -> None:
    for each in program.of_type(SETTINGS[3]):
        (rule,) = each.inputs["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        is_log = "access-logs" in each.inputs["bucket"]
        # S3 delivers access logs to no bucket whose key is in KMS.
        assert default["sseAlgorithm"] == ("AES256" if is_log else "aws:kms")
        assert rule["bucketKeyEnabled"] is not is_log
        assert is_log or default["kmsMasterKeyId"].endswith("key/prod-storage-objects")


def test_everything_is_logged_but_the_logs(program: Program) -> None:
    logged = {each.inputs["bucket"]: each.inputs for each in program.of_type(LOGGING)}
    target = ACCOUNT.bucket("access-logs")
    assert target not in logged
    assert {each["targetBucket"] for each in logged.values()} == {target}
    assert all(each["targetPrefix"] == f"{bucket}/" for bucket, each in logged.items())


def test_a_policy_comes_after_the_settings_that_it_freezes(program: Program) -> None:
    for policy in program.of_type(POLICY):
        assert {f"{type_}::{policy.name}" for type_ in SETTINGS} <= policy.after


def test_pointers_verdicts_and_money_keep_every_version(program: Program) -> None:
    rules = {each.inputs["bucket"]: each.inputs["rules"] for each in program.of_type(SETTINGS[4])}
    for purpose, kept in (
        ("registry", ("lora-adapters/", "approvals/")),
        ("warehouse", ("closed/", "closed-heads/", "notes/", "events/", "counters/", "runs/")),
        ("datasets", ("bank/",)),
    ):
        for rule in rules[ACCOUNT.bucket(purpose)]:  # type: ignore[arg-type]
            ends = "noncurrentVersionExpiration" in rule or "expiration" in rule
            prefix = rule["filter"]["prefix"]
            assert not (ends and any(key.startswith(prefix) for key in kept)), (purpose, prefix)
    assert all(rule["status"] == "Enabled" for each in rules.values() for rule in each)


def test_the_signing_key_is_asymmetric_and_its_public_half_is_given_on() -> None:
    given: list[str] = []

    def build() -> None:
        storage = declare_storage(CONFIG, cluster(), prefix=ACCOUNT.prefix)
        for value in (storage.evaluation_key, storage.evaluation_public_key):
            pulumi.Output.from_input(value).apply(given.append)

    program = declare(build, answers=ANSWERS)
    key = program.one("aws:kms/key:Key", "prod-storage-verdicts").inputs
    assert (key["keyUsage"], key["customerMasterKeySpec"]) == ("SIGN_VERIFY", "ECC_NIST_P256")
    assert sorted(given) == [f"awskms:{SIGNING_KEY}", f"public half of {SIGNING_KEY}"]


def test_an_identity_has_all_permissions_before_its_pods(program: Program) -> None:
    association = program.one(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation", "pods-router"
    )
    assert "aws:iam/rolePolicy:RolePolicy::pods-router" in association.after
    assert association.inputs["clusterName"] == "pipeline-prod"
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == (
        "pods",
        "router",
    )


def test_policies_fit_what_aws_takes(program: Program) -> None:
    for each in program.of_type("aws:iam/rolePolicy:RolePolicy"):
        assert len(json.loads(each.inputs["policy"])["Statement"]) >= 2
        assert len(each.inputs["policy"].replace(" ", "")) <= 10_240
    for each in program.of_type(POLICY):
        assert len(each.inputs["policy"]) <= 20 * 1024
    assert BREAK_GLASS in program.one(POLICY, "prod-storage-registry").inputs["policy"]


def test_on_a_cluster_that_exists_nothing_is_declared() -> None:
    given: list[Storage] = []

    def build() -> None:
        there = replace(cluster(), aws=None)
        config = ExistingStorage.model_validate(EXISTING)
        given.append(declare_storage(config, there, prefix=ACCOUNT.prefix))
        assert given[0].bind(["router"], namespace="pods", service_account="router") == ()

    program = declare(build)
    assert [each for each in program.resources if each.type.startswith(("aws:", "pipeline:"))] == []
    (storage,) = given
    assert storage.registry_uri == EXISTING["registry_uri"]
    assert storage.evaluation_key == "/etc/evaluation/evaluation.pem"
    assert storage.evaluation_secret is not None
    assert storage.identities is None


@pytest.mark.parametrize(
    ("existing", "said"), [(True, "it must be buckets"), (False, "it must be existing")]
)
def test_storage_of_another_kind_than_the_cluster_is_refused(existing: bool, said: str) -> None:
    def build() -> None:
        config = ExistingStorage.model_validate(EXISTING) if existing else CONFIG
        place = cluster() if existing else replace(cluster(), aws=None)
        with pytest.raises(ValueError, match=said):
            declare_storage(config, place, prefix=ACCOUNT.prefix)

    declare(build)
