"""The fields of kgateway's objects that the edge uses, as models: a misspelt one cannot be written.

After api/v1alpha1/kgateway/{traffic_policy,listener_policy,gateway_parameters,direct_response}_
types.go and api/v1alpha1/shared/shared_types.go of kgateway-dev/kgateway (v2.2 to v2.4). Limits of
values are those of the annotations there. No kgateway was run against them.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

GROUP: Final = "gateway.kgateway.dev"
API_VERSION: Final = f"{GROUP}/v1alpha1"
GATEWAY_API: Final = "gateway.networking.k8s.io"
CLASS: Final = "kgateway"
"""The GatewayClass that kgateway's controller makes for its Envoy."""

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
HeaderNames = Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class TargetRef(_Model):
    """The object that a policy is for, in the policy's own namespace."""

    group: Literal["gateway.networking.k8s.io"] = GATEWAY_API
    kind: Literal["Gateway", "HTTPRoute"]
    name: str


class TokenBucket(_Model):
    """Envoy's local rate limit."""

    max_tokens: int = Field(ge=1)
    tokens_per_fill: int = Field(ge=1)
    fill_interval: Duration


class LocalRateLimit(_Model):
    """A limit that each Envoy counts for itself."""

    token_bucket: TokenBucket


class RateLimit(_Model):
    """Only the local kind: a global one needs a service of its own."""

    local: LocalRateLimit


class Buffer(_Model):
    """A request body over the size is refused with 413."""

    max_request_size: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Ki|Mi)?$")]


class HeaderRemoval(_Model):
    """Names of headers; kgateway has no removal by prefix."""

    remove: HeaderNames


class TrafficPolicySpec(_Model):
    """Spec of a TrafficPolicy; field by field, that of a route goes before that of the Gateway."""

    target_refs: Annotated[tuple[TargetRef, ...], Field(min_length=1, max_length=16)]
    rate_limit: RateLimit | None = None
    buffer: Buffer | None = None


class HttpSettings(_Model):
    """Settings of Envoy's HTTP connection manager."""

    early_request_header_modifier: HeaderRemoval
    """Before a route is chosen."""
    stream_idle_timeout: Duration
    idle_timeout: Duration
    use_remote_address: bool


class ListenerConfig(_Model):
    """Settings of every listener."""

    http_settings: HttpSettings


class ListenerPolicySpec(_Model):
    """Spec of a ListenerPolicy."""

    target_refs: Annotated[tuple[TargetRef, ...], Field(min_length=1, max_length=16)]
    default: ListenerConfig


class ProxyDeployment(_Model):
    """The Deployment of the gateway pods."""

    replicas: int = Field(ge=0)


class ContainerResources(_Model):
    """As Kubernetes has them."""

    requests: dict[str, str]
    limits: dict[str, str]


class EnvoyContainer(_Model):
    """The container that runs Envoy."""

    resources: ContainerResources
    security_context: dict[str, Any]
    """A SecurityContext of Kubernetes."""


class GracefulShutdown(_Model):
    """Envoy reports that it drains, then waits."""

    enabled: bool
    sleep_time_seconds: int = Field(ge=0)


class PodTemplate(_Model):
    """The gateway pods."""

    security_context: dict[str, Any]
    """A PodSecurityContext of Kubernetes."""
    graceful_shutdown: GracefulShutdown
    termination_grace_period_seconds: int = Field(ge=0)
    topology_spread_constraints: tuple[dict[str, Any], ...]


class ProxyService(_Model):
    """The Service in front of the gateway pods."""

    type: Literal["LoadBalancer", "ClusterIP"]
    load_balancer_source_ranges: tuple[str, ...] | None = None


class Overlay(_Model):
    """What is laid over an object that kgateway makes."""

    spec: dict[str, Any]


class KubernetesProxy(_Model):
    """How kgateway runs Envoy."""

    deployment: ProxyDeployment
    envoy_container: EnvoyContainer
    pod_template: PodTemplate
    service: ProxyService
    pod_disruption_budget: Overlay


class GatewayParametersSpec(_Model):
    """Spec of GatewayParameters."""

    kube: KubernetesProxy


class DirectResponseSpec(_Model):
    """Spec of a DirectResponse."""

    status: int = Field(ge=200, le=599)
    body: Annotated[str, Field(min_length=1, max_length=4096)]


Spec = TrafficPolicySpec | ListenerPolicySpec | GatewayParametersSpec | DirectResponseSpec

_KINDS: Final = {
    TrafficPolicySpec: "TrafficPolicy",
    ListenerPolicySpec: "ListenerPolicy",
    GatewayParametersSpec: "GatewayParameters",
    DirectResponseSpec: "DirectResponse",
}


def manifest(name: str, namespace: str, spec: Spec) -> dict[str, Any]:
    """Return the object, as Kubernetes gets it."""
    return {
        "apiVersion": API_VERSION,
        "kind": _KINDS[type(spec)],
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
