"""The Gateway API objects of the edge. Kubernetes applies them; locally they are translated."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.edge import kgateway

DOMAIN_HEADER: Final = "X-Customer-Domain"
API_PREFIX: Final = "/v1"
UNKNOWN_DOMAIN: Final = "unknown-domain"
UNKNOWN_DOMAIN_BODY: Final = (
    '{"error": {"message": "X-Customer-Domain names no domain of this environment: use the name '
    'or an alias of your own domain, or leave the header out", "type": "invalid_request_error", '
    '"param": "X-Customer-Domain", "code": "unknown_domain"}}'
)
"""What a request with an unknown domain value gets, with status 404; as clients of the OpenAI
interface expect errors."""

LISTENER: Final = "api"
"""The listener that serves the API, in every Gateway: routes name it, so that none of them also
attaches to a listener that is there for redirects."""

MAX_MATCHES: Final = 128
"""Matches per HTTPRoute that the Gateway API allows."""

# An HTTPRoute removes headers by full name, 16 at most: those that Bifrost and common
# authentication proxies take an identity from. Where the edge can, it removes the prefixes below.
IDENTITY_HEADERS: Final = (
    "x-bf-vk",
    "x-bf-api-key",
    "x-bf-api-key-id",
    "x-bf-direct-key",
    "x-bf-session-id",
    "x-bf-session-ttl",
    "x-bf-dim-customer",
    "x-api-key",
    "x-goog-api-key",
    "x-customer-id",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-client-cert",
    "x-auth-request-user",
    "x-auth-request-email",
)
IDENTITY_PREFIXES: Final = ("x-bf-", "x-auth-request-")
STEERING_HEADERS: Final = (
    "x-bf-cache-key",
    "x-bf-cache-no-store",
    "x-bf-cache-threshold",
    "x-bf-cache-ttl",
    "x-bf-cache-type",
    "x-bf-disable-content-logging",
    "x-bf-mcp-include-clients",
    "x-bf-mcp-include-tools",
    "x-bf-passthrough-extra-params",
    "x-bf-send-back-raw-request",
    "x-bf-send-back-raw-response",
    "x-bf-store-raw-request-response",
    "x-auth-request-access-token",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-redirect",
)
"""Further names with those prefixes that mean something. kgateway removes names only, 16 in each
place; what both lists leave out ends at the router, which passes on no header of a client."""

# The methods of the OpenAI interface. A match with a method goes before one without, in every
# implementation, so no domain's route can lose to the rule for unknown domains.
_METHODS: Final = ("POST", "GET")


def route_name(domain: str) -> str:
    """Return the name of a domain's HTTPRoute."""
    return f"domain-{domain}"


def environment_route_name(gateway: str) -> str:
    """Return the name of the environment's own HTTPRoute."""
    return f"{gateway}-environment"


def http_route(
    domain: str, aliases: Sequence[str], namespace: str, gateway: str, service: str, port: int
) -> dict[str, Any]:
    """Return the HTTPRoute of one domain: its header values to the router.

    Args:
        domain: Name of the domain, a DNS label.
        aliases: Further values of X-Customer-Domain that mean this domain.
        namespace: Namespace of the router and the gateway.
        gateway: Name of the Gateway.
        service: Name of the router's Service.
        port: Port of that Service.

    Raises:
        ValueError: when there are more header values than an HTTPRoute can match.
    """
    values = list(dict.fromkeys((domain, *aliases)))
    if len(values) * len(_METHODS) > MAX_MATCHES:
        allowed = MAX_MATCHES // len(_METHODS) - 1
        raise ValueError(
            f"header_aliases: {len(values) - 1} aliases of {domain}; a route takes {allowed}"
        )
    matches = [
        {
            "path": {"type": "PathPrefix", "value": API_PREFIX},
            "method": method,
            "headers": [{"type": "Exact", "name": DOMAIN_HEADER, "value": value}],
        }
        for value in values
        for method in _METHODS
    ]
    # A rule takes 64 matches, a route 16 rules.
    rules = [
        _to_router(matches[start : start + 64], service, port)
        for start in range(0, len(matches), 64)
    ]
    return _route(route_name(domain), namespace, gateway, rules)


def environment_route(
    namespace: str, gateway: str, service: str, port: int, *, refuse_unknown: bool = True
) -> dict[str, Any]:
    """Return the environment's own HTTPRoute: requests that name no domain, or an unknown one.

    Without the header the key decides, so the router gets the request. Any value that no domain's
    route matches gets `unknown_domain_response`.

    Args:
        namespace: Namespace of the router and the gateway.
        gateway: Name of the Gateway.
        service: Name of the router's Service.
        port: Port of that Service.
        refuse_unknown: False where the gateway knows no object for an answer of its own: the router
            then refuses unknown values, after it has looked at the key.
    """
    path = {"type": "PathPrefix", "value": API_PREFIX}
    to_router = _to_router([{"path": path}], service, port)
    if not refuse_unknown:
        return _route(environment_route_name(gateway), namespace, gateway, [to_router])
    any_value = {"type": "RegularExpression", "name": DOMAIN_HEADER, "value": ".*"}
    answer = {
        "type": "ExtensionRef",
        "extensionRef": {
            "group": kgateway.GROUP,
            "kind": "DirectResponse",
            "name": UNKNOWN_DOMAIN,
        },
    }
    rules = [
        {"matches": [{"path": path, "headers": [any_value]}], "filters": [answer]},
        to_router,
    ]
    return _route(environment_route_name(gateway), namespace, gateway, rules)


def redirect_route(namespace: str, gateway: str, listener: str) -> dict[str, Any]:
    """Return the HTTPRoute that sends plain HTTP on one listener to HTTPS."""
    redirect = {"scheme": "https", "statusCode": 301}
    rules = [{"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}]
    return _route(f"{gateway}-redirect", namespace, gateway, rules, listener)


def unknown_domain_response(namespace: str) -> dict[str, Any]:
    """Return the kgateway object that `environment_route` refers to."""
    spec = kgateway.DirectResponseSpec(status=404, body=UNKNOWN_DOMAIN_BODY)
    return kgateway.manifest(UNKNOWN_DOMAIN, namespace, spec)


def conflicts(routes: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Find header values that more than one route claims.

    Args:
        routes: HTTPRoute objects by file name.

    Returns:
        What is wrong, by the file name of each later claimant.
    """
    owners: dict[str, str] = {}
    found: dict[str, str] = {}
    for name in sorted(routes):
        for value in sorted(_header_values(routes[name])):
            owner = owners.setdefault(value, name)
            if owner != name:
                found[name] = (
                    f"{DOMAIN_HEADER}: {value} is claimed by {owner} too, and which of them gets "
                    "a request is not defined: take the alias out of one of the two"
                )
    return found


def _header_values(route: dict[str, Any]) -> set[str]:
    return {
        header["value"]
        for rule in route["spec"].get("rules", [])
        for match in rule.get("matches", [])
        for header in match.get("headers", [])
        if header["name"].lower() == DOMAIN_HEADER.lower()
    }


def _to_router(matches: list[dict[str, Any]], service: str, port: int) -> dict[str, Any]:
    return {
        "matches": matches,
        "filters": [
            {
                "type": "RequestHeaderModifier",
                "requestHeaderModifier": {"remove": list(IDENTITY_HEADERS)},
            }
        ],
        "backendRefs": [{"name": service, "port": port}],
        # A streamed answer takes as long as it takes; the router has the deadlines.
        "timeouts": {"request": "0s", "backendRequest": "0s"},
    }


def _route(
    name: str, namespace: str, gateway: str, rules: list[dict[str, Any]], listener: str = LISTENER
) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"parentRefs": [{"name": gateway, "sectionName": listener}], "rules": rules},
    }
