"""From ConfigMaps to tenancy records. No I/O."""

from typing import Any, Final

from registry import documents
from registry.errors import RegistryError
from serving.cluster_watch.config import TENANCY_KEY, TENANCY_LABEL, tenancy_name
from serving.router.tenancy import TenancyRecord

SELECTOR: Final = f"{TENANCY_LABEL}=true"


def domain_of(name: str) -> str | None:
    """The domain whose tenancy record a ConfigMap of this name may hold; None where it is none."""
    domain = name.removeprefix(tenancy_name(""))
    return domain if name == tenancy_name(domain) and domain else None


def record_of(config_map: Any) -> bytes:
    """The tenancy record of a V1ConfigMap, as the router reads it.

    Raises:
        RegistryError: There is none, it cannot be read, or it is of another domain.
    """
    name = config_map.metadata.name
    place = f"ConfigMap {name}: {TENANCY_KEY}"
    data = (config_map.data or {}).get(TENANCY_KEY)
    if data is None:
        raise RegistryError(f"{place}: there is no such key")
    record = documents.decode(data.encode(), TenancyRecord, place)
    if tenancy_name(record.domain) != name:
        raise RegistryError(
            f"{place}: domain: {record.domain!r}, whose record is in {tenancy_name(record.domain)}"
        )
    return str(data).encode()
