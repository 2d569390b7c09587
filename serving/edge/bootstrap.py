"""The part of Envoy's configuration that never changes while it runs."""

import yaml

from serving.edge.config import EdgeConfig
from serving.edge.xds import XdsFiles, file_source

_MAX_CONNECTIONS = 10_000


def xds_files(config: EdgeConfig) -> XdsFiles:
    """Return the files that the control plane writes and Envoy watches."""
    return XdsFiles(
        listeners=str(config.xds_dir / "lds.json"),
        routes=str(config.xds_dir / "rds.json"),
        clusters=str(config.xds_dir / "cds.json"),
    )


def render_bootstrap(config: EdgeConfig) -> str:
    """Return Envoy's bootstrap file, in YAML."""
    files = xds_files(config)
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    limit = {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
        "downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": _MAX_CONNECTIONS,
    }
    return yaml.safe_dump(
        {
            "node": {"id": config.gateway, "cluster": config.environment},
            "admin": {
                "address": {
                    "socket_address": {
                        "address": str(config.admin.host),
                        "port_value": config.admin.port,
                    }
                }
            },
            "dynamic_resources": {
                "lds_config": file_source(files.listeners),
                "cds_config": file_source(files.clusters),
            },
            "overload_manager": {
                "resource_monitors": [{"name": connections, "typed_config": limit}]
            },
        },
        sort_keys=False,
    )


def envoy_command(config: EdgeConfig) -> tuple[str, ...]:
    """Return the command line of Envoy."""
    return (
        str(config.envoy),
        "--config-path",
        str(config.xds_dir / "bootstrap.yaml"),
        # One worker: the other cores are for the model.
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        # Hot restart shares memory between processes by number: two environments would meet.
        "--disable-hot-restart",
    )
