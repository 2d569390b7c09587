"""What the policies of an environment and its domains allow, and what they refuse to everybody.

The documents are those that the programs declare; a real simulator of IAM decides.
"""

import datetime as dt
from collections.abc import Callable
from itertools import product
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import layout
from registry.layout import is_immutable
from registry.names import DOMAIN_PATTERN, Version
from registry.release import StepKind
from serving.warehouse import layout as warehouse
from stacks.policies.buckets import GUARDED
from stacks.policies.names import Capacity, Purpose
from stacks.policies.statements import Places
from stacks.policies.steps import step_access, step_permissions
from tests.iam.caller import Caller
from tests.iam.policies import (
    ACCOUNT,
    BREAK_GLASS,
    DOMAINS,
    SIGNING_KEY,
    STORAGE_KEY,
    Policies,
    declared,
    job_role,
    people_role,
    workload_role,
)
from tests.iam.simulator import Simulator

AsRole = Callable[[str], Caller]
VERSION = Version(1, 2)
KINDS: tuple[StepKind, ...] = get_args(StepKind)
DATA: tuple[Purpose, ...] = (
    "registry",
    "datasets",
    "models",
    "warehouse",
    "artifacts",
    "traces",
)
GIVEN = ("if-match", "if-none-match")
CONDITIONS = (None, *GIVEN)
_names = st.from_regex(DOMAIN_PATTERN, fullmatch=True)
_versions = st.builds(Version, st.integers(0, 999_999), st.integers(0, 999_999))


def _registry_keys(domain: str, version: Version = VERSION) -> tuple[str, ...]:
    run = layout.run_adapter_file(domain, "train-slm-3f2a9c41b07d", layout.ADAPTER_WEIGHTS)
    runs = (f"{kind}-3f2a9c41b07d" for kind in KINDS)
    return (
        layout.adapter_file(domain, version, "slm", layout.ADAPTER_WEIGHTS),
        layout.adapter_file(domain, version, "llm", layout.ADAPTER_CONFIG),
        layout.manifest(domain, version),
        layout.evaluation(domain, version),
        layout.pointer(domain),
        f"{layout.approvals_prefix(domain, version)}0a1b.json",
        run,
        *(key for name in runs for key in _run_keys(domain, name)),
    )


def _run_keys(domain: str, run: str) -> tuple[str, ...]:
    return (
        layout.run_status(domain, run),
        layout.run_result(domain, run),
        layout.run_traffic(domain, run, 1),
    )


def _everyone() -> list[str]:
    return list(declared().roles)


# A domain and its neighbours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_job_touches_nothing_of_another_domain(
    as_role: AsRole, domain: str, kind: StepKind
) -> None:
    caller = as_role(job_role(domain, kind))
    for other in DOMAINS:
        if other == domain:
            continue
        for key in _registry_keys(other):
            assert not caller.reads("registry", key), key
            assert not any(caller.writes("registry", key, each) for each in GIVEN), key
        assert not caller.reads("datasets", f"{other}/train.jsonl")
        assert not caller.lists("registry", f"runs/{other}/")
        assert not caller.lists("registry", f"lora-adapters/{other}/")
    assert not caller.lists("registry", None)


@settings(deadline=None)
@given(domain=_names, other=_names, kind=st.sampled_from(KINDS), data=st.data())
def test_nor_under_any_other_names(
    simulator: Simulator, domain: str, other: str, kind: StepKind, data: st.DataObject
) -> None:
    """The statements of any domain, against the keys of any other: also of longer ones."""
    other = data.draw(st.sampled_from([other, f"{domain}a", f"{domain}-v1", f"a{domain}"]))
    if other == domain:
        return
    caller = _of_any_domain(simulator, domain, kind)
    key = data.draw(st.sampled_from(_registry_keys(other, data.draw(_versions))))
    assert not caller.reads("registry", key)
    assert not any(caller.writes("registry", key, each) for each in CONDITIONS)


@settings(deadline=None)
@given(domain=_names, version=_versions, kind=st.sampled_from(KINDS))
def test_any_domain_has_its_own(
    simulator: Simulator, domain: str, version: Version, kind: StepKind
) -> None:
    caller = _of_any_domain(simulator, domain, kind)
    status, result, _ = _run_keys(domain, f"{kind}-3f2a9c41b07d")
    assert caller.writes("registry", status)
    assert caller.writes("registry", result, "if-none-match")
    judges = caller.writes("registry", layout.evaluation(domain, version), "if-none-match")
    assert judges == (kind == "evaluate")
    publishes = caller.writes("registry", layout.manifest(domain, version), "if-none-match")
    assert publishes == (kind == "publish")
    releases = caller.writes("registry", layout.pointer(domain), "if-match")
    assert releases == (kind == "release")


def _of_any_domain(simulator: Simulator, domain: str, kind: StepKind) -> Caller:
    places = Places(account=ACCOUNT, storage_key=STORAGE_KEY, signing_key=SIGNING_KEY)
    statements = step_permissions(places, kind, step_access(ACCOUNT, kind, domain, ()))
    role = job_role(domain, kind)
    known = declared()
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    policies = Policies({role: policy}, {}, known.buckets, known.keys)
    return Caller(simulator, policies, role)


# Candidates, verdicts, approvals, pointers


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_trainer_writes_its_run_alone(as_role: AsRole, domain: str) -> None:
    trainer = as_role(job_role(domain, "train"))
    own = layout.run_prefix(domain, "train-slm-3f2a9c41b07d")
    for key in _registry_keys(domain):
        may = any(trainer.writes("registry", key, each) for each in CONDITIONS)
        # Requests to model servers are an evaluation's to note.
        assert may == (
            key.startswith(own)
            or key == layout.run_status(domain, "train-3f2a9c41b07d")
            or key == layout.run_result(domain, "train-3f2a9c41b07d")
        ), key
    assert not trainer.reads("registry", layout.evaluation(domain, VERSION))
    assert not trainer.reads("datasets", f"{domain}/heldout.jsonl")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_who_writes_verdicts_approvals_and_pointers(as_role: AsRole, condition: str | None) -> None:
    for role, domain in product(_everyone(), DOMAINS):
        caller = as_role(role)
        verdict = caller.writes("registry", layout.evaluation(domain, VERSION), condition)
        judge = role == job_role(domain, "evaluate")
        assert verdict == (judge and condition == "if-none-match")
        for reviewer in ("lead-a", "lead-b"):
            approval = f"{layout.reviewer_prefix(domain, VERSION, reviewer)}0a1b.json"
            own = role == people_role("approve", reviewer)
            may = own and condition == "if-none-match"
            assert caller.writes("registry", approval, condition) == may
        releaser = role in {job_role(domain, "release"), people_role("release")}
        moves = caller.writes("registry", layout.pointer(domain), condition)
        assert moves == (releaser and condition is not None)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_an_administrator_writes_none_of_them(administrator: Caller, condition: str | None) -> None:
    for key in _registry_keys("bank"):
        may = administrator.writes("registry", key, condition)
        is_result = is_immutable(key) and condition != "if-none-match"
        assert may == (key.startswith("runs/bank/") and not is_result), key


@pytest.mark.parametrize(
    ("capacity", "kinds"),
    [
        ("publish", {"adapter", "manifest"}),
        ("evaluate", {"adapter", "manifest", "verdict"}),
        ("release", {"pointer"}),
        ("approve", {"approval"}),
        ("train", set()),
    ],
)
def test_a_capacity_writes_no_more_whatever_its_own_policy_allows(
    simulator: Simulator, capacity: Capacity, kinds: set[str]
) -> None:
    role = f"arn:aws:iam::{ACCOUNT.account}:role{ACCOUNT.role_path(capacity)}any"
    caller = Caller(simulator, declared(), role, administrator=True)
    keys = {
        "adapter": layout.adapter_file("bank", VERSION, "slm", layout.ADAPTER_WEIGHTS),
        "manifest": layout.manifest("bank", VERSION),
        "verdict": layout.evaluation("bank", VERSION),
        "pointer": layout.pointer("bank"),
        "approval": f"{layout.approvals_prefix('bank', VERSION)}0a1b.json",
    }
    may = {kind for kind, key in keys.items() if caller.writes("registry", key, "if-none-match")}
    assert may == kinds


# What is written once


@settings(deadline=None)
@given(
    key=st.from_regex(
        r"(lora-adapters/[a-z-]+/v[0-9]{1,4}\.[0-9]{1,4}/[a-z/]+[a-z]"
        r"|approvals/[a-z]+/v1\.2/[a-z]+|runs/[a-z]+/[a-z-]+/result\.json"
        r"|closed/[a-z0-9-]+\.json|closed-heads/[a-z]+|notes/[a-z]+/[a-z]+)",
        fullmatch=True,
    )
)
def test_what_is_immutable_is_created_once_whoever_writes(simulator: Simulator, key: str) -> None:
    assert is_immutable(key)
    purpose: Purpose = "registry" if key.startswith(("lora", "appr", "runs")) else "warehouse"
    capacities = ("publish", "evaluate", "approve")
    paths = [ACCOUNT.role_path(each) for each in capacities]  # type: ignore[arg-type]
    callers = [
        Caller(simulator, declared(), f"arn:aws:iam::123456789012:role{path}x", administrator=True)
        for path in paths
    ]
    for caller in callers:
        assert not caller.writes(purpose, key)
        assert not caller.writes(purpose, key, "if-match")
    assert any(caller.writes(purpose, key, "if-none-match") for caller in callers)


@pytest.mark.parametrize("folder", [warehouse.EVENTS, warehouse.ORPHANS])
def test_shipped_usage_is_created_by_the_shipper_and_rewritten_by_nobody(
    as_role: AsRole, administrator: Caller, folder: str
) -> None:
    day = warehouse.day_folder(folder, dt.date(2026, 11, 3))
    key = day + warehouse.range_name("router-0", "b1", 1, warehouse.span(0, 512, 7))
    assert {role for role in _everyone() if as_role(role).writes("warehouse", key, GIVEN[1])} == {
        workload_role("router")
    }
    for caller in (administrator, as_role(workload_role("router"))):
        assert not caller.writes("warehouse", key)
        assert not caller.writes("warehouse", key, "if-match")


@pytest.mark.parametrize(
    "key",
    [
        warehouse.closed_key("2026-11"),
        warehouse.closed_head_key("2026-11"),
        warehouse.note_key("2026-11", "0a1b"),
        warehouse.newest_part_key(dt.date(2026, 11, 3)),
    ],
)
def test_billing_alone_writes_what_is_billed(as_role: AsRole, key: str) -> None:
    writers = {role for role in _everyone() if as_role(role).writes("warehouse", key, GIVEN[1])}
    assert writers == {workload_role("billing")}


@pytest.mark.parametrize(
    ("workload", "key"),
    [
        ("router", warehouse.writer_key("router-0")),
        ("router", warehouse.shipped_key("router-0", "b1", 1)),
        ("pod-reports", "pods/day=2026-11-03/cluster.json"),
        ("billing", "parts/day=2026-11-03/part.json"),
    ],
)
def test_what_changes_is_written_again(as_role: AsRole, workload: str, key: str) -> None:
    assert as_role(workload_role(workload)).writes("warehouse", key)  # type: ignore[arg-type]


def test_parts_of_an_upload_carry_no_condition(as_role: AsRole) -> None:
    """S3 takes conditions when an upload completes, and asks for s3:PutObject at every part."""
    publisher = as_role(job_role("bank", "publish"))
    key = layout.adapter_file("bank", VERSION, "slm", layout.ADAPTER_WEIGHTS)
    assert publisher.writes("registry", key, **{"s3:ObjectCreationOperation": "false"})
    assert not publisher.writes("registry", key)


# What nobody may do


@pytest.mark.parametrize("purpose", DATA)
def test_nobody_deletes_a_version(
    as_role: AsRole, administrator: Caller, simulator: Simulator, purpose: Purpose
) -> None:
    callers = [administrator, *map(as_role, _everyone())]
    assert not any(caller.deletes(purpose, "a/b", version=True) for caller in callers)
    last_resort = Caller(simulator, declared(), BREAK_GLASS, administrator=True)
    assert last_resort.deletes(purpose, "a/b", version=True)


@pytest.mark.parametrize("purpose", sorted(GUARDED))
def test_nobody_hides_an_object_or_changes_a_setting(
    as_role: AsRole, administrator: Caller, simulator: Simulator, purpose: Purpose
) -> None:
    callers = [administrator, *map(as_role, _everyone())]
    assert not any(caller.deletes(purpose, "a/b") for caller in callers)
    last_resort = Caller(simulator, declared(), BREAK_GLASS, administrator=True)
    for action in ("PutLifecycleConfiguration", "PutBucketPolicy", "PutBucketVersioning"):
        bucket, policy = ACCOUNT.bucket_arn(purpose), declared().buckets[ACCOUNT.bucket(purpose)]
        context = {"s3:TlsVersion": "1.3"}
        assert not administrator.may(f"s3:{action}", bucket, policy, context)
        assert last_resort.may(f"s3:{action}", bucket, policy, context)


@pytest.mark.parametrize("purpose", sorted(GUARDED))
@pytest.mark.parametrize("action", ["ReplicateObject", "ReplicateDelete", "ReplicateTags"])
def test_no_other_bucket_is_replicated_over_a_guarded_one(
    administrator: Caller, simulator: Simulator, purpose: Purpose, action: str
) -> None:
    """Who replicates writes without s3:PutObject: with it a pointer would move past every rule."""
    releaser = Caller(simulator, declared(), people_role("release"), administrator=True)
    resource = f"{ACCOUNT.bucket_arn(purpose)}/{layout.pointer('bank')}"
    policy = declared().buckets[ACCOUNT.bucket(purpose)]
    for caller in (administrator, releaser):
        assert not caller.may(f"s3:{action}", resource, policy, {"s3:TlsVersion": "1.3"})


def test_of_all_workloads_langfuse_alone_deletes(as_role: AsRole) -> None:
    deleting = {
        (role, purpose)
        for role, purpose in product(_everyone(), DATA)
        if as_role(role).deletes(purpose, "a/b")
    }
    assert deleting == {(workload_role("langfuse"), "traces")}


@pytest.mark.parametrize("purpose", DATA)
@pytest.mark.parametrize(
    "transport",
    [{"aws:SecureTransport": "false"}, {"s3:TlsVersion": "1.1"}],
    ids=["http", "tls1.1"],
)
def test_nothing_goes_over_plain_http(
    administrator: Caller, purpose: Purpose, transport: dict[str, str]
) -> None:
    assert administrator.reads(purpose, "other/x")
    assert not administrator.reads(purpose, "other/x", **transport)
    assert not administrator.writes(purpose, "other/x", **transport)


@pytest.mark.parametrize("purpose", DATA)
def test_objects_are_encrypted_with_the_environments_key(
    administrator: Caller, purpose: Purpose
) -> None:
    algorithm = "s3:x-amz-server-side-encryption"
    key = f"{algorithm}-aws-kms-key-id"
    assert administrator.writes(purpose, "other/x")
    assert administrator.writes(purpose, "other/x", **{algorithm: "aws:kms", key: STORAGE_KEY})
    assert not administrator.writes(purpose, "other/x", **{algorithm: "AES256"})
    assert not administrator.writes(
        purpose, "other/x", **{algorithm: "aws:kms", key: f"{STORAGE_KEY}0"}
    )
    assert not administrator.writes(
        purpose, "other/x", **{f"{algorithm}-customer-algorithm": "AES256"}
    )


# Keys


def test_only_evaluations_sign(as_role: AsRole) -> None:
    context = {"kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:MessageType": "DIGEST"}
    policy = declared().keys[SIGNING_KEY]
    signing = {
        role for role in _everyone() if as_role(role).may("kms:Sign", SIGNING_KEY, policy, context)
    }
    assert signing == {job_role(domain, "evaluate") for domain in DOMAINS}


def test_an_administrator_neither_signs_nor_ends_a_key(
    administrator: Caller, simulator: Simulator
) -> None:
    last_resort = Caller(simulator, declared(), BREAK_GLASS, administrator=True)
    for key, policy in declared().keys.items():
        assert not administrator.may("kms:ScheduleKeyDeletion", key, policy)
        assert last_resort.may("kms:ScheduleKeyDeletion", key, policy)
        assert administrator.may("kms:PutKeyPolicy", key, policy)
    signing = declared().keys[SIGNING_KEY]
    for action in ("kms:Sign", "kms:CreateGrant"):
        assert not administrator.may(action, SIGNING_KEY, signing)
    assert administrator.may("kms:GetPublicKey", SIGNING_KEY, signing)


def test_objects_are_decrypted_through_s3_and_of_the_own_bucket(as_role: AsRole) -> None:
    policy = declared().keys[STORAGE_KEY]
    registry = {"kms:EncryptionContext:aws:s3:arn": ACCOUNT.bucket_arn("registry")}
    through = {
        "kms:ViaService": f"s3.{ACCOUNT.region}.amazonaws.com",
        "kms:CallerAccount": ACCOUNT.account,
    }
    router, langfuse = as_role(workload_role("router")), as_role(workload_role("langfuse"))
    assert router.may("kms:Decrypt", STORAGE_KEY, policy, registry | through)
    assert not router.may("kms:Decrypt", STORAGE_KEY, policy, registry)
    assert not langfuse.may("kms:Decrypt", STORAGE_KEY, policy, registry | through)


@pytest.mark.parametrize("service", ["rds", "elasticache"])
def test_a_database_is_granted_the_key_by_who_makes_it(
    as_role: AsRole, administrator: Caller, service: str
) -> None:
    policy = declared().keys[STORAGE_KEY]
    through = {
        "kms:ViaService": f"{service}.{ACCOUNT.region}.amazonaws.com",
        "kms:CallerAccount": ACCOUNT.account,
    }
    grant = {**through, "kms:GrantIsForAWSResource": "true"}
    assert administrator.may("kms:CreateGrant", STORAGE_KEY, policy, grant)
    for other in (
        through,
        {**grant, "kms:GrantIsForAWSResource": "false"},
        {**grant, "kms:ViaService": f"ec2.{ACCOUNT.region}.amazonaws.com"},
    ):
        assert not administrator.may("kms:CreateGrant", STORAGE_KEY, policy, other)
    assert not administrator.may("kms:Decrypt", STORAGE_KEY, policy, through)
    assert not any(
        as_role(role).may("kms:CreateGrant", STORAGE_KEY, policy, grant) for role in _everyone()
    )


# Who assumes a role


def _assumes(simulator: Simulator, principal: str, role: str, context: dict[str, str]) -> bool:
    return simulator.allows(
        principal=principal,
        action="sts:AssumeRole",
        resource=role,
        account=ACCOUNT.account,
        context=context,
        identity=[],
        resource_policy=declared().trusts[role],
    )


def test_a_role_is_for_the_pods_of_one_service_account(simulator: Simulator) -> None:
    role = job_role("bank", "train")
    tags = {
        "aws:RequestTag/kubernetes-namespace": "pipeline-training",
        "aws:RequestTag/kubernetes-service-account": "bank-train",
        "aws:RequestTag/eks-cluster-arn": ACCOUNT.cluster_arn("pipeline-prod"),
        "aws:SourceAccount": ACCOUNT.account,
    }
    eks = "pods.eks.amazonaws.com"
    assert _assumes(simulator, eks, role, tags)
    assert not _assumes(simulator, "ec2.amazonaws.com", role, tags)
    for key, value in tags.items():
        others = {name: tag for name, tag in tags.items() if name != key}
        assert not _assumes(simulator, eks, role, {**others, key: f"{value}-ledger"}), key
        assert not _assumes(simulator, eks, role, others), key


def test_access_logs_are_written_by_s3_for_the_environments_buckets(simulator: Simulator) -> None:
    def delivers(source: str, account: str = ACCOUNT.account) -> bool:
        return simulator.allows(
            principal="logging.s3.amazonaws.com",
            action="s3:PutObject",
            resource=f"{ACCOUNT.bucket_arn('access-logs')}/x/2026",
            account=ACCOUNT.account,
            context={
                "aws:SourceArn": source,
                "aws:SourceAccount": account,
                "aws:SecureTransport": "true",
                "s3:TlsVersion": "1.3",
            },
            identity=[],
            resource_policy=declared().buckets[ACCOUNT.bucket("access-logs")],
        )

    assert all(delivers(ACCOUNT.bucket_arn(purpose)) for purpose in DATA)
    assert not delivers("arn:aws:s3:::somebody-elses")
    assert not delivers(ACCOUNT.bucket_arn("registry"), "999999999999")
