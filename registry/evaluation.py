"""The verdict of the evaluation gate, signed over the bundle that it judges."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from registry import documents, layout
from registry.documents import Document
from registry.errors import NotFoundError, PreconditionFailedError, RegistryError
from registry.names import DomainName, Version, VersionField
from registry.signing import Signer, is_signature, load_public_key
from registry.store import ObjectStore


class CheckResult(Document):
    """One check of the gate."""

    name: str
    status: Literal["passed", "failed", "not-applicable"]
    score: float | None = None
    threshold: float | None = None
    reason: str = ""
    """Why it failed or does not apply."""
    detail: dict[str, float | int | str | None] = Field(default_factory=dict)


class Evaluation(Document):
    """Verdict over one bundle under one gate configuration."""

    schema_version: Literal[1] = 1
    domain: DomainName
    version: VersionField
    bundle_digest: str
    gate_digest: str
    """Digest of the gate configuration that it was judged by."""
    checks: tuple[CheckResult, ...]
    created_at: datetime
    signature: str = ""
    """Base64, over the canonical form of everything else; of the kind of the key that verifies."""

    @property
    def passed(self) -> bool:
        """At least one check passed, none failed: a gate with all checks off never passes."""
        statuses = {check.status for check in self.checks}
        return "passed" in statuses and "failed" not in statuses

    def failures(self) -> list[str]:
        """One line for each failed check."""
        return [
            f"{check.name}: {check.reason}" for check in self.checks if check.status == "failed"
        ]


def create_key_pair(private: Path, public: Path) -> None:
    """Write a new ed25519 key pair as PEM files; the private one is readable by its owner only."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private.parent.mkdir(parents=True, exist_ok=True)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    # The private key appears last and whole: where it is, the pair is complete.
    scratch = private.with_name(f".{private.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    scratch.write_bytes(pem)
    scratch.replace(private)


def sign(evaluation: Evaluation, signer: Signer) -> Evaluation:
    """The same verdict with its signature.

    Raises:
        RegistryError: The key cannot be used.
    """
    signature = base64.b64encode(signer.sign(_signed_bytes(evaluation))).decode()
    return evaluation.model_copy(update={"signature": signature})


def verify(evaluation: Evaluation, public_key: Path | bytes) -> None:
    """Check the signature.

    Args:
        evaluation: The verdict.
        public_key: A PEM file, or what is in one.

    Raises:
        RegistryError: It does not belong to this verdict and this key, or the key cannot be read.
    """
    place = f"evaluation of {evaluation.domain} {evaluation.version}"
    pem, name = _read_key(public_key)
    key = load_public_key(pem, name)
    if not is_signature(evaluation.signature, _signed_bytes(evaluation), key):
        raise RegistryError(f"{place}: the signature does not match the {name}")


def _read_key(public_key: Path | bytes) -> tuple[bytes, str]:
    """The PEM, and what errors call it."""
    if isinstance(public_key, bytes):
        return public_key, "evaluation key of the environment"
    try:
        return public_key.read_bytes(), f"evaluation key {public_key}"
    except OSError as error:
        raise NotFoundError(f"evaluation key {public_key}: {error}") from error


def read_evaluation(store: ObjectStore, domain: str, version: Version) -> Evaluation:
    """Read the verdict on a version; its signature is not checked here.

    Raises:
        NotFoundError: The version has not been evaluated.
        RegistryError: The document is damaged.
    """
    return documents.read(store, layout.evaluation(domain, version), Evaluation)[0]


def write_evaluation(store: ObjectStore, evaluation: Evaluation) -> Evaluation:
    """Store a signed verdict; the first one stands, and is returned when there is one already.

    Raises:
        RegistryError: It is not signed.
    """
    if not evaluation.signature:
        raise RegistryError(
            f"the evaluation of {evaluation.domain} {evaluation.version} is not signed"
        )
    key = layout.evaluation(evaluation.domain, evaluation.version)
    try:
        store.put(key, documents.encode(evaluation), if_none_match=True)
    except PreconditionFailedError:
        return read_evaluation(store, evaluation.domain, evaluation.version)
    return evaluation


def _signed_bytes(evaluation: Evaluation) -> bytes:
    return documents.canonical(evaluation.model_dump(mode="json", exclude={"signature"}))
