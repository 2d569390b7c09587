"""A verdict counts only with the signature of its own key over its own content."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.kms.models import kms_backends

from registry.errors import RegistryError
from registry.evaluation import (
    CheckResult,
    Evaluation,
    create_key_pair,
    sign,
    verify,
    write_evaluation,
)
from registry.kms_signer import KmsSigner
from registry.names import Version
from registry.signing import FileSigner, open_signer
from registry.store import open_store


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    create_key_pair(tmp_path / "k", tmp_path / "k.pub")
    return tmp_path / "k", tmp_path / "k.pub"


@pytest.fixture
def verdict() -> Evaluation:
    check = CheckResult(name="domain_test", status="failed", score=0.1, reason="too low")
    return Evaluation(
        domain="bank-ledger",
        version=Version(1, 0),
        bundle_digest="sha256:b",
        checks=(check,),
        gate_digest="sha256:g",
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


def test_a_signed_verdict_verifies(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    signed = sign(verdict, FileSigner(keys[0]))
    verify(signed, keys[1])
    assert signed.signature
    assert not signed.passed


def test_a_changed_verdict_does_not(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    signed = sign(verdict, FileSigner(keys[0]))
    better = signed.model_copy(
        update={"checks": (CheckResult(name="domain_test", status="passed"),)}
    )
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(better, keys[1])


def test_nor_does_a_verdict_of_another_bundle(keys: tuple[Path, Path], verdict: Evaluation) -> None:
    moved = sign(verdict, FileSigner(keys[0])).model_copy(update={"bundle_digest": "sha256:c"})
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(moved, keys[1])


def test_nor_does_another_key(keys: tuple[Path, Path], verdict: Evaluation, tmp_path: Path) -> None:
    create_key_pair(tmp_path / "other", tmp_path / "other.pub")
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(sign(verdict, FileSigner(tmp_path / "other")), keys[1])


def test_an_unsigned_verdict_is_not_stored(verdict: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not signed"):
        write_evaluation(open_store(f"file://{tmp_path}/r"), verdict)


def test_the_first_verdict_stands(
    keys: tuple[Path, Path], verdict: Evaluation, tmp_path: Path
) -> None:
    store = open_store(f"file://{tmp_path}/r")
    first = write_evaluation(store, sign(verdict, FileSigner(keys[0])))
    second = verdict.model_copy(update={"checks": (CheckResult(name="x", status="passed"),)})
    assert write_evaluation(store, sign(second, FileSigner(keys[0]))) == first


def test_the_private_key_is_for_its_owner_only(keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o077 == 0


def test_a_key_of_kms_signs_what_its_public_key_verifies(
    verdict: Evaluation, tmp_path: Path
) -> None:
    with mock_aws():
        kms = boto3.client("kms", region_name="eu-central-1")
        made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        key_id = made["KeyMetadata"]["Arn"]
        public_key = _pem(tmp_path, kms.get_public_key(KeyId=key_id)["PublicKey"])
        signed = sign(_long(verdict), KmsSigner(key_id, _signing_digests(kms)))
    verify(signed, public_key)
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(signed.model_copy(update={"bundle_digest": "sha256:c"}), public_key)


def test_a_key_that_kms_does_not_have_is_named(verdict: Evaluation) -> None:
    missing = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    with mock_aws(), pytest.raises(RegistryError, match=missing):
        sign(verdict, KmsSigner(missing, boto3.client("kms", region_name="eu-central-1")))


def test_a_p256_key_file_signs_too(verdict: Evaluation, tmp_path: Path) -> None:
    signed, public_key = _signed_by(ec.SECP256R1(), verdict, tmp_path)
    verify(signed, public_key)


def test_a_key_of_another_kind_is_refused(verdict: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="neither an ed25519 nor a P-256 key"):
        _signed_by(ec.SECP384R1(), verdict, tmp_path)


def test_a_signature_of_one_kind_is_none_of_another(
    keys: tuple[Path, Path], verdict: Evaluation, tmp_path: Path
) -> None:
    signed, public_key = _signed_by(ec.SECP256R1(), verdict, tmp_path)
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(signed, keys[1])
    with pytest.raises(RegistryError, match="signature does not match"):
        verify(sign(verdict, FileSigner(keys[0])), public_key)


@pytest.mark.parametrize(
    ("key", "kind"), [("/keys/evaluation.key", FileSigner), ("awskms:arn:aws:kms:x", KmsSigner)]
)
def test_a_key_says_what_signs_with_it(key: str, kind: type) -> None:
    assert isinstance(open_signer(key), kind)


def _signing_digests(kms: Any) -> Any:
    """A client of moto's KMS that signs a digest as it is, which moto would hash once more."""
    keys: Any = kms_backends[DEFAULT_ACCOUNT_ID][kms.meta.region_name].keys

    class Client:
        def sign(self, **request: Any) -> dict[str, bytes]:
            kms.sign(**request)  # checks names, types and the algorithm of the request
            assert request["MessageType"] == "DIGEST"
            private = keys[request["KeyId"].rpartition("/")[2]].private_key.private_key
            digest = ec.ECDSA(Prehashed(hashes.SHA256()))
            return {"Signature": private.sign(request["Message"], digest)}

    return Client()


def _long(verdict: Evaluation) -> Evaluation:
    """More than KMS signs without a digest."""
    check = CheckResult(name="domain_test", status="failed", reason="x" * 5000)
    return verdict.model_copy(update={"checks": (check,)})


def _signed_by(
    curve: ec.EllipticCurve, verdict: Evaluation, directory: Path
) -> tuple[Evaluation, Path]:
    key = ec.generate_private_key(curve)
    private = directory / "ec.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sign(verdict, FileSigner(private)), _pem(directory, der)


def _pem(directory: Path, der: bytes) -> Path:
    path = directory / "evaluation.pub"
    path.write_bytes(
        serialization.load_der_public_key(der).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path
