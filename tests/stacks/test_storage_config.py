"""What a configuration of storage refuses, and how things in an account are named."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from registry.names import DOMAIN_PATTERN
from stacks.config.storage import StorageConfig
from stacks.policies.names import Account
from stacks.policies.steps import step_access

ROLE = "arn:aws:iam::123456789012:role/platform/on-call"
BUCKETS: dict[str, Any] = {"kind": "buckets", "people": {"break_glass": ROLE}}


def _pem(key: Any) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = key.public_key().public_bytes(encoding, form)
    return pem.decode()


EXISTING: dict[str, Any] = {
    "kind": "existing",
    "registry_uri": "s3://pipeline/registry",
    "warehouse_uri": "s3://pipeline/warehouse",
    "artifacts_uri": "s3://pipeline/mlflow",
    "models_uri": "s3://models",
    "datasets_uri": "s3://pipeline/datasets",
    "verdicts": {"public_key": _pem(ec.generate_private_key(ec.SECP256R1()))},
}
ACCOUNT = Account(account="123456789012", region="eu-central-1", prefix="pipeline-prod")
_config: TypeAdapter[Any] = TypeAdapter(StorageConfig)


@pytest.mark.parametrize("values", [BUCKETS, EXISTING], ids=["buckets", "existing"])
def test_the_least_that_must_be_said(values: dict[str, Any]) -> None:
    assert _config.validate_python(values).kind == values["kind"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "buckets"}, "people"),
        ({**BUCKETS, "people": {}}, "break_glass"),
        ({**BUCKETS, "people": {"break_glass": "root"}}, "written as arn:aws:iam::"),
        ({**BUCKETS, "superseded_days": 1}, "greater than or equal to 7"),
        ({**EXISTING, "registry_uri": "s3://pipeline/registry/"}, "without a slash at the end"),
        ({**EXISTING, "registry_uri": "file:///registry"}, "written as s3://bucket"),
        (
            {**EXISTING, "datasets_uri": "s3://pipeline"},
            "registry_uri s3://pipeline/registry overlap: give each a bucket",
        ),
        ({**EXISTING, "models_uri": "s3://pipeline/mlflow"}, "artifacts_uri .* overlap"),
        ({**EXISTING, "verdicts": {"public_key": "x"}}, "public_key: "),
        (
            {**EXISTING, "verdicts": {"public_key": _pem(rsa.generate_private_key(65537, 2048))}},
            "neither an ed25519 nor a P-256 key",
        ),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _config.validate_python(values)


def test_prefixes_that_begin_alike_do_not_overlap() -> None:
    values = {**EXISTING, "models_uri": "s3://pipeline/registry-models"}
    assert _config.validate_python(values).models_uri == "s3://pipeline/registry-models"


@given(
    domain=st.from_regex(DOMAIN_PATTERN, fullmatch=True),
    other=st.from_regex(DOMAIN_PATTERN, fullmatch=True),
)
def test_roles_of_two_domains_have_two_names_that_iam_takes(domain: str, other: str) -> None:
    names = {ACCOUNT.role_name(each, "evaluate") for each in (domain, other)}
    assert len(names) == len({domain, other})
    assert all(len(name) <= 64 and name.startswith("pipeline-prod-") for name in names)


def test_long_names_that_begin_alike_stay_apart() -> None:
    names = {ACCOUNT.role_name("d" * 60, kind) for kind in ("train", "evaluate")}
    assert len(names) == 2
    assert {len(name) for name in names} == {64}


@pytest.mark.parametrize("prefix", ["Prod", "a--b", "-a", "a" * 40, ""])
def test_a_prefix_that_no_bucket_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="short enough for the bucket"):
        Account(account="123456789012", region="eu-central-1", prefix=prefix)


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-central-1", "arn:aws:s3:::p-models-123456789012"),
        ("cn-north-1", "arn:aws-cn:s3:::p-models-123456789012"),
        ("us-gov-west-1", "arn:aws-us-gov:s3:::p-models-123456789012"),
    ],
)
def test_arns_are_of_the_partition_of_the_region(region: str, arn: str) -> None:
    account = Account(account="123456789012", region=region, prefix="p")
    assert account.bucket_arn("models") == arn


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://pipeline-prod-datasets-123456789012/bank-ledger/train.jsonl", "no dataset but"),
        ("s3://pipeline-prod-datasets-123456789012/bank", "no dataset but"),
        ("s3://pipeline-prod-registry-123456789012/runs/bank/x", "put it there"),
        ("s3://elsewhere/bank/train.jsonl", "put it there"),
        ("s3://pipeline-prod-models-123456789012/", "put it there"),
        ("s3://pipeline-prod-datasets-123456789012/bank/*", "put it there"),
    ],
)
def test_a_job_fetches_nothing_from_elsewhere(uri: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        step_access(ACCOUNT, "train", "bank", [uri])
