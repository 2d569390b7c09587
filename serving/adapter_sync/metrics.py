"""Prometheus metrics of one adapter-sync."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from serving.pod_status import PodStatus


def render(status: PodStatus) -> bytes:
    """The exposition text. Made anew each time, so that what is gone leaves no series behind."""
    registry = CollectorRegistry()
    base = Gauge(
        "adapter_sync_model_server_up",
        "1 when the model server answers adapter-sync, else 0.",
        registry=registry,
    )
    base.set(status.base)
    adapters = Gauge(
        "adapter_sync_adapter",
        "Adapters that the registry wants on this server, by state: loaded, loading or failed.",
        ["domain", "served_model", "state"],
        registry=registry,
    )
    for name, adapter in status.adapters.items():
        adapters.labels(adapter.domain, name, adapter.state).set(1)
    return bytes(generate_latest(registry))
