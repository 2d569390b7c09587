"""Envoy's configuration in a model pod. No I/O.

vLLM listens on loopback and answers far more than inference: whoever reaches all of it can load
adapters from any path, read what others tokenised, or run inference past `--api-key`. Only exact
methods and paths get through; every other request is answered 403 here.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

INFERENCE: Final = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/health"),
)
"""What gets through to vLLM on the port for inference."""
METRICS: Final = (("GET", "/metrics"),)
"""What gets through on the port for metrics."""
ALIVE: Final = "/healthz"
"""Answered by Envoy itself, on the port for metrics."""

ENGINE_LOST: Final = "X-Engine-Lost"
"""Header of answers that Envoy makes because vLLM could not be reached, or ended before it had
answered: to whoever asks the pod, the connection broke."""

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions"
_ENGINE: Final = "vllm"
_MAX_CONNECTIONS: Final = 4096
_LOST_FLAGS: Final = ("UF", "UC", "UR")
"""Envoy's names for: no connection, connection ended, connection reset."""
_CONTROL: Final = (
    "x-http-method",
    "x-method-override",
    "x-original-",
    "x-rewrite-",
    "x-envoy-",
)
"""Beginnings of headers by which some servers take another method or path than the one that was
allowed, and by which Envoy itself takes other time limits."""


@dataclass(frozen=True, kw_only=True)
class GatewayPorts:
    """Ports of one pod; the engine's and Envoy's own are on loopback."""

    inference: int
    metrics: int
    engine: int
    admin: int


def render_bootstrap(ports: GatewayPorts, *, idle_s: int, host: str = "0.0.0.0") -> str:  # noqa: S104  the pod's own address
    """Return Envoy's bootstrap file, in JSON.

    Args:
        ports: Where it listens, and where vLLM does.
        idle_s: A stream in which nothing moves for this long is closed.
        host: Address that it listens on.
    """
    listeners = [
        _listener("inference", host, ports.inference, _routes(INFERENCE, idle_s), idle_s),
        _listener("metrics", host, ports.metrics, [_alive(), *_routes(METRICS, idle_s)], idle_s),
    ]
    return json.dumps(
        {
            "admin": {"address": _address("127.0.0.1", ports.admin)},
            "static_resources": {
                "listeners": listeners,
                "clusters": [_engine(ports.engine)],
            },
            "overload_manager": {"resource_monitors": [_connection_limit()]},
        },
        indent=1,
    )


def envoy_command(config_path: str) -> tuple[str, ...]:
    """Return the command line of Envoy."""
    return (
        "envoy",
        "--config-path",
        config_path,
        # One worker carries more than a model server: the other cores are for the model.
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        # Hot restart shares memory between processes by number: two pods of a node would meet.
        "--disable-hot-restart",
    )


def _listener(name: str, host: str, port: int, routes: list[Json], idle_s: int) -> Json:
    return {
        "name": name,
        "address": _address(host, port),
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [{"filters": [_manager(name, routes, idle_s)]}],
    }


def _manager(name: str, routes: list[Json], idle_s: int) -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": name,
            # Nothing in the cluster speaks HTTP/2 to a model server: what is not parsed cannot err.
            "codec_type": "HTTP1",
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "common_http_protocol_options": {
                "headers_with_underscores_action": "DROP_HEADER",
                "idle_timeout": f"{idle_s}s",
            },
            "use_remote_address": True,
            # The router's id is the one in the ledger.
            "preserve_external_request_id": True,
            "request_headers_timeout": "30s",
            "stream_idle_timeout": f"{idle_s}s",
            "local_reply_config": _errors_as_json(),
            "route_config": {
                "name": name,
                "virtual_hosts": [
                    {"name": name, "domains": ["*"], "routes": [*routes, _refused()]}
                ],
            },
            "http_filters": [
                _strip_control(),
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": f"{_EXTENSIONS}.filters.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                    },
                },
            ],
        },
    }


def _strip_control() -> Json:
    # A filter, not an option of the routes: those take effect after Envoy has read its own headers.
    removals = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
        for prefix in _CONTROL
    ]
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": removals},
        },
    }


def _routes(allowed: tuple[tuple[str, str], ...], idle_s: int) -> list[Json]:
    return [
        {
            "match": _match(method, path),
            # A stream that moves has no deadline.
            "route": {"cluster": _ENGINE, "timeout": "0s", "idle_timeout": f"{idle_s}s"},
        }
        for method, path in allowed
    ]


def _match(method: str, path: str) -> Json:
    only = {"name": ":method", "string_match": {"exact": method}}
    return {"path": path, "headers": [only]}


def _alive() -> Json:
    return {"match": _match("GET", ALIVE), "direct_response": {"status": 200}}


def _refused() -> Json:
    body = {
        "error": {
            "message": "this method and path are not served: see /v1/models",
            "type": "gateway_error",
            "code": "not_allowed",
        }
    }
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 403, "body": {"inline_string": json.dumps(body)}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _errors_as_json() -> Json:
    """Answers that Envoy makes because something failed; a flag tells them from a route's own."""
    body = {
        "json_format": {
            "error": {
                "message": "the model server did not answer: %LOCAL_REPLY_BODY% "
                "(%RESPONSE_CODE_DETAILS%)",
                "type": "gateway_error",
                "code": "%RESPONSE_FLAGS_LONG%",
            }
        }
    }
    # The first filter that holds is the one that counts.
    lost = {
        "filter": {"response_flag_filter": {"flags": list(_LOST_FLAGS)}},
        "headers_to_add": [{"header": {"key": ENGINE_LOST, "value": "%RESPONSE_FLAGS%"}}],
        "body_format_override": body,
    }
    other = {"filter": {"response_flag_filter": {}}, "body_format_override": body}
    return {"mappers": [lost, other]}


def _engine(port: int) -> Json:
    endpoint = {"endpoint": {"address": _address("127.0.0.1", port)}}
    # vLLM queues; a limit below its own would turn load into errors.
    limits = {
        "max_connections": _MAX_CONNECTIONS,
        "max_pending_requests": _MAX_CONNECTIONS,
        "max_requests": _MAX_CONNECTIONS,
        "max_retries": 0,
    }
    return {
        "name": _ENGINE,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": _ENGINE,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _connection_limit() -> Json:
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.resource_monitors.downstream_connections.v3"
            ".DownstreamConnectionsConfig",
            "max_active_downstream_connections": _MAX_CONNECTIONS,
        },
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
