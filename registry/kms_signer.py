"""Signs with a key of AWS KMS."""

import hashlib
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from registry.errors import RegistryError


class KmsSigner:
    """Signs with an asymmetric key of the kind ECC_NIST_P256."""

    def __init__(self, key_id: str, client: Any = None) -> None:
        """Name the key.

        Args:
            key_id: Its ARN.
            client: Client of KMS; made when None.
        """
        self._key_id = key_id
        self._client = client

    def sign(self, message: bytes) -> bytes:
        """See registry.signing.Signer."""
        try:
            client = self._client or boto3.client("kms")
            answer = client.sign(
                KeyId=self._key_id,
                # KMS takes messages of 4096 bytes at most, and a verdict may be longer.
                Message=hashlib.sha256(message).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except (BotoCoreError, ClientError) as error:
            raise RegistryError(f"evaluation key {self._key_id}: {error}") from error
        signature: bytes = answer["Signature"]
        return signature
