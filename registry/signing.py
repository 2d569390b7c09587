"""Signatures of verdicts: a key file signs in a local environment, a KMS key in AWS.

Which algorithm a signature is of follows from the key: ed25519, or ECDSA on P-256 with SHA-256,
which is what AWS KMS signs with (`ECC_NIST_P256`). A key of KMS never leaves it.
"""

import base64
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry.errors import RegistryError

KMS_SCHEME: Final = "awskms:"
"""`awskms:<ARN>` names a key of KMS where a key file could stand."""

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class Signer(Protocol):
    """Signs with one private key."""

    def sign(self, message: bytes) -> bytes:
        """The signature. Raises RegistryError when the key cannot be used."""


class FileSigner:
    """Signs with a private ed25519 or P-256 key in a PEM file."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is read when it signs."""
        self._path = path

    def sign(self, message: bytes) -> bytes:
        """See Signer."""
        try:
            key = serialization.load_pem_private_key(self._path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise RegistryError(f"evaluation key {self._path}: {error}") from error
        if isinstance(key, Ed25519PrivateKey):
            return key.sign(message)
        if isinstance(key, ec.EllipticCurvePrivateKey) and _is_p256(key):
            return key.sign(message, ec.ECDSA(hashes.SHA256()))
        raise RegistryError(f"evaluation key {self._path} is neither an ed25519 nor a P-256 key")


def open_signer(key: str) -> Signer:
    """Open a key file, or `awskms:<ARN>`."""
    if key.startswith(KMS_SCHEME):
        from registry.kms_signer import KmsSigner  # noqa: PLC0415  boto3 only where it is used

        return KmsSigner(key.removeprefix(KMS_SCHEME))
    return FileSigner(Path(key))


def load_public_key(pem: bytes, place: str) -> PublicKey:
    """Read a public key.

    Args:
        pem: Its PEM.
        place: What errors name.

    Raises:
        RegistryError: It is neither an ed25519 nor a P-256 key.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise RegistryError(f"{place}: {error}") from error
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and _is_p256(key)
    ):
        return key
    raise RegistryError(f"{place} is neither an ed25519 nor a P-256 key")


def is_signature(signature: str, message: bytes, key: PublicKey) -> bool:
    """Whether a signature, in base64, is of this message and this key."""
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, message)
        else:
            key.verify(raw, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_p256(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)
