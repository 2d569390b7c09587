"""From EndpointSlices to the servers of a pool. No I/O."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from serving.cluster_watch.config import ADAPTER_SYNC_PORT, HTTP_PORT
from serving.pool_servers import PoolServers, ServerAddress

SERVICE_LABEL: Final = "kubernetes.io/service-name"
_FAMILIES: Final = ("IPv4", "IPv6")


def selector(services: Iterable[str]) -> str:
    """Label selector of the slices of some Services."""
    return f"{SERVICE_LABEL} in ({','.join(sorted(services))})"


def servers_of(slices: Iterable[Any], service: str) -> PoolServers:
    """The servers behind a headless Service, by pod.

    Args:
        slices: V1EndpointSlice objects, also of other Services.
        service: The Service.
    """
    found: dict[str, ServerAddress] = {}
    own = [
        each
        for each in slices
        if (each.metadata.labels or {}).get(SERVICE_LABEL) == service
        and each.address_type in _FAMILIES
    ]
    # While a pod moves between slices it is in two; with two address families always.
    for each in sorted(own, key=lambda one: (one.address_type, one.metadata.name)):
        for address in _addresses(each):
            found.setdefault(address.pod, address)
    return PoolServers(servers=tuple(found[pod] for pod in sorted(found)))


def _addresses(each: Any) -> Iterator[ServerAddress]:
    ports = {port.name: port.port for port in each.ports or ()}
    http, adapter_sync = ports.get(HTTP_PORT), ports.get(ADAPTER_SYNC_PORT)
    if http is None or adapter_sync is None:
        return
    for endpoint in each.endpoints or ():
        target = endpoint.target_ref
        if not _is_ready(endpoint.conditions) or target is None or target.kind != "Pod":
            continue
        host = endpoint.addresses[0]
        if each.address_type == "IPv6":
            host = f"[{host}]"
        yield ServerAddress(
            pod=target.name,
            base_url=f"http://{host}:{http}",
            adapter_sync_url=f"http://{host}:{adapter_sync}",
        )


def _is_ready(conditions: Any) -> bool:
    # The API says so: a condition that is not given counts as ready.
    return conditions is None or conditions.ready is not False
