"""How pods reach object storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.pods import Peer, SecretKey


@dataclass(frozen=True, kw_only=True)
class ObjectStoreAccess:
    """What a pod needs to read and write objects; who it is, its ServiceAccount's role says.

    On EKS credentials come from the Pod Identity agent and `secrets` is empty. Elsewhere a Secret
    holds them, and `environment` names the endpoint.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    """Such as AWS_REGION and AWS_ENDPOINT_URL_S3."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    """AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where no agent gives them."""
    peers: tuple[Peer, ...] = ()
    """Where storage and credentials are, for NetworkPolicies."""
