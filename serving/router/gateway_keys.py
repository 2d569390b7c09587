"""The router's own keys for the gateway before a pool: limits of a customer hang on them."""

from collections.abc import Mapping
from typing import Final

from serving.router.config import Via
from serving.tracing.config import SecretSource

_NOTHING: Final[Mapping[str, str]] = {}


class GatewayKeys:
    """Keys of one pool's gateway, read once."""

    def __init__(self, via: Via | None) -> None:
        """Read them.

        Raises:
            SettingsError: One is missing.
        """
        own = {} if via is None else via.customer_keys
        self._own = {customer: _header(key) for customer, key in own.items()}
        self._default = _NOTHING if via is None or via.key is None else _header(via.key)

    def headers(self, customer: str) -> Mapping[str, str]:
        """What goes along with a customer's request."""
        return self._own.get(customer, self._default)


def _header(key: SecretSource) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key.read()}"}
