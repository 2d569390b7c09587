"""How pods reach object storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from components.pods import Peer, SecretKey

ACCESS_KEY_ID: Final = "AWS_ACCESS_KEY_ID"
SECRET_ACCESS_KEY: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  a name


@dataclass(frozen=True, kw_only=True)
class ObjectStoreAccess:
    """What a pod needs to read and write objects; who it is, its ServiceAccount's role says.

    On EKS credentials come from the Pod Identity agent and `secrets` is empty. Elsewhere a Secret
    holds them, and `environment` names the endpoint.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    """Such as AWS_REGION and AWS_ENDPOINT_URL_S3."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """ACCESS_KEY_ID and SECRET_ACCESS_KEY, where no agent gives them."""
    peers: tuple[Peer, ...] = ()
    """Where storage and credentials are, for NetworkPolicies."""


def credentials_in(secret: str) -> dict[str, SecretKey]:
    """The variables of a Secret that holds credentials under their own names."""
    return {name: SecretKey(secret=secret, key=name) for name in (ACCESS_KEY_ID, SECRET_ACCESS_KEY)}
