"""Configuration of the edge: host name, certificate, load balancer, limits."""

from collections.abc import Collection
from ipaddress import ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from stacks.config.base import Config, Reason, written_as

_WIDEST = {4: 8, 6: 32}
"""Prefix lengths below which a range is as good as the whole internet."""

HostName = Annotated[
    str,
    StringConstraints(max_length=253),
    written_as(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+",
        "a full host name in lower case, such as llm.example.com",
    ),
]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", max_length=253)
]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"no network: {error}; write it as 10.0.0.0/8") from error


Network = Annotated[str, AfterValidator(_network)]


class TokenBucket(Config):
    """How many requests pass. A bucket is filled every second and holds what a burst may take."""

    per_second: int = Field(ge=1, le=10_000, description="requests a second in the long run")
    burst: int = Field(ge=1, le=100_000, description="requests at once after a quiet time")

    @model_validator(mode="after")
    def _holds_a_fill(self) -> Self:
        if self.burst < self.per_second:
            raise ValueError(
                f"burst ({self.burst}) is below per_second ({self.per_second}): the bucket cannot "
                f"hold what it is filled with; set burst to at least {self.per_second}"
            )
        return self


class RateLimits(Config):
    """Limits of requests, by Envoy's local token buckets.

    Each gateway pod counts for itself, and each pair of method and header value has a bucket of
    its own: what a domain can reach at most is `per_second` times pods times its names. They keep
    a client that runs wild from the router; budgets are for the router and the ledger.
    """

    domain: TokenBucket = Field(
        TokenBucket(per_second=20, burst=60), description="of one domain that sets no other"
    )
    without_domain: TokenBucket = Field(
        TokenBucket(per_second=20, burst=60),
        description="of all requests without X-Customer-Domain, and of unknown values",
    )


class Timeouts(Config):
    """Times after which the edge gives up. Deadlines of answers are the router's."""

    # An AWS Network Load Balancer forgets a connection after 350 s without a byte, and says so to
    # nobody; the edge must be first.
    stream_idle_s: int = Field(
        300, ge=10, le=340, description="a stream in which nothing moves for this long is closed"
    )
    connection_idle_s: int = Field(
        330, ge=10, le=340, description="a connection without requests is closed after this"
    )
    drain_s: int = Field(
        120, ge=5, le=3600, description="a gateway pod that ends waits this long for its streams"
    )


class CertManagerTls(Config):
    """A certificate that cert-manager issues and renews; the cluster brings cert-manager along."""

    kind: Literal["cert-manager"]
    issuer: ObjectName = Field(description="name of the issuer")
    issuer_kind: Literal["Issuer", "ClusterIssuer"] = Field(
        "ClusterIssuer", description="an Issuer is looked for in the namespace of the gateway"
    )


class SecretTls(Config):
    """A Secret of type kubernetes.io/tls that exists in the namespace of the gateway."""

    kind: Literal["secret"]
    name: ObjectName = Field(description="name of the Secret")


class ExternalSecretTls(Config):
    """A certificate that External Secrets copies from a secret manager and keeps up to date."""

    kind: Literal["external-secret"]
    store: ObjectName = Field(description="name of the store")
    store_kind: Literal["SecretStore", "ClusterSecretStore"] = Field(
        "ClusterSecretStore", description="a SecretStore is looked for in the gateway's namespace"
    )
    key: str = Field(
        min_length=1, description="key in the store; its value is JSON with tls.crt and tls.key"
    )


class NoTls(Config):
    """Plain HTTP, for a cluster that nobody outside reaches."""

    kind: Literal["none"]
    reason: Reason = Field(description="why keys may travel in the clear")


Tls = Annotated[CertManagerTls | SecretTls | ExternalSecretTls | NoTls, Field(discriminator="kind")]


class LoadBalancer(Config):
    """Who can reach the edge."""

    scheme: Literal["internal", "internet-facing", "none"] = Field(
        "internal",
        description="none: a Service of type ClusterIP, for clusters without load balancers",
    )
    source_ranges: tuple[Network, ...] = Field(
        (), description="networks that may connect; the load balancer drops the rest"
    )
    public: bool = Field(
        default=False, description="true says that the whole internet may be a source range"
    )

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        if self.scheme == "none":
            if self.source_ranges:
                raise ValueError(
                    "source_ranges need a load balancer: scheme is none; remove them, or set "
                    "scheme to internal"
                )
            return self
        if not self.source_ranges:
            raise ValueError(
                f"source_ranges is empty, and an {self.scheme} load balancer without them lets "
                "everybody connect: name the networks of the clients, such as 10.0.0.0/8"
            )
        self._refuse_the_internet()
        return self

    def _refuse_the_internet(self) -> None:
        if self.public:
            if self.scheme != "internet-facing":
                raise ValueError("public: true goes with scheme internet-facing only")
            return
        for text in self.source_ranges:
            network = ip_network(text)
            if network.prefixlen < _WIDEST[network.version]:
                raise ValueError(
                    f"source_ranges: {text} is (a large part of) the internet: name the networks "
                    "of the clients, or say public: true with scheme internet-facing"
                )


class GatewayPods(Config):
    """Pods that carry the traffic of another implementation of the Gateway API."""

    namespace: LabelName = Field(description="where they run")
    labels: dict[str, str] = Field(
        min_length=1, description="labels that they have; the router lets in nobody else"
    )


def _is_kgateway(gateway_class: str) -> bool:
    return gateway_class == "kgateway"


class EdgeConfig(Config):
    """The edge: one Gateway, its certificate, and what it does before the router."""

    hostname: HostName = Field(description="name that clients use, such as llm.bank.example")
    tls: Tls
    plain_http: Literal["none", "redirect"] = Field(
        "none",
        description="port 80: closed, or a redirect; a client that starts there has sent its key "
        "in the clear before it is redirected",
    )
    load_balancer: LoadBalancer
    rate_limits: RateLimits = RateLimits()
    timeouts: Timeouts = Timeouts()
    replicas: int = Field(2, ge=1, le=20, description="gateway pods (kgateway only)")
    gateway_class: LabelName = Field(
        "kgateway", description="GatewayClass; another one with the operator kgateway off"
    )
    gateway_pods: GatewayPods | None = Field(
        None, description="pods of the other implementation, for the router's NetworkPolicy"
    )

    @field_validator("hostname")
    @classmethod
    def _not_an_address(cls, name: str) -> str:
        if name.rsplit(".", 1)[-1].isdigit():
            raise ValueError("an address cannot be a host name: certificates and routes need one")
        return name

    @model_validator(mode="after")
    def _plain_http_stays_inside(self) -> Self:
        if isinstance(self.tls, NoTls):
            if self.load_balancer.scheme == "internet-facing":
                raise ValueError(
                    "tls.kind none with load_balancer.scheme internet-facing would send keys in "
                    "the clear: use cert-manager, secret or external-secret"
                )
            if self.plain_http == "redirect":
                raise ValueError("plain_http: redirect needs a certificate; tls.kind is none")
        return self

    @model_validator(mode="after")
    def _other_gateway_says_its_pods(self) -> Self:
        if _is_kgateway(self.gateway_class) != (self.gateway_pods is None):
            raise ValueError(
                f"gateway_class {self.gateway_class!r} and gateway_pods do not fit: kgateway's "
                "pods are known, those of another implementation must be named"
            )
        return self

    @model_validator(mode="after")
    def _ranges_can_be_enforced(self) -> Self:
        balancer = self.load_balancer
        other = not _is_kgateway(self.gateway_class)
        if other and balancer.scheme == "internet-facing" and not balancer.public:
            raise ValueError(
                f"gateway_class {self.gateway_class!r}: source_ranges are only sure with kgateway, "
                "which has a field for them; use scheme internal, or say public: true"
            )
        return self

    def check_operators(self, operators: Collection[str]) -> None:
        """Check that the cluster has what this edge is made of.

        Args:
            operators: Names of those that are installed or present.

        Raises:
            ValueError: One is missing; names it and what to do.
        """
        if "gateway-api" not in operators:
            # Nothing of the edge is declared then.
            return
        if _is_kgateway(self.gateway_class) != ("kgateway" in operators):
            state = "off" if _is_kgateway(self.gateway_class) else "on"
            raise ValueError(
                f"gateway_class is {self.gateway_class!r} and the operator kgateway is {state}: "
                "switch the operator, or name the class that serves this environment"
            )
        if isinstance(self.tls, ExternalSecretTls) and "external-secrets" not in operators:
            raise ValueError(
                "tls.kind external-secret needs the operator external-secrets, which is off: "
                "switch it on, or use tls.kind secret"
            )
