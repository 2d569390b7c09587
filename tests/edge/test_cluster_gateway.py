"""The Gateway and the routes of a cluster, through a real translator of the Gateway API.

The translator is Envoy Gateway's, kgateway is another: what both share is the standard. Policies of
kgateway are not translated here.
"""

import base64
import copy
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.edge.controller import translate_with_egctl
from serving.edge.listeners import PLAIN_LISTENER, GatewaySpec, Infrastructure, gateway_object
from serving.edge.routes import LISTENER, environment_route, http_route, redirect_route

from .conftest import ROOT

NAMESPACE = "agentic-serving"
HOST = "llm.bank.example"
CERTIFICATE = "edge-certificate"
GUIDES_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: lora-routing
spec:
  rules:
  - matches:
    - headers:
      - name: X-Customer-Domain
        value: bank
    backendRefs:
    - name: vllm-svc
      port: 8000
"""

Route = Mapping[str, Any]


def _gateway(certificate: str | None = CERTIFICATE, *, redirects: bool = True) -> dict[str, Any]:
    return gateway_object(
        GatewaySpec(
            namespace=NAMESPACE,
            gateway_class="kgateway",
            hostname=HOST,
            certificate=certificate,
            redirects=redirects,
            infrastructure=Infrastructure(labels={"custom-model-pipeline/edge": "edge"}),
        )
    )


def _around() -> list[dict[str, Any]]:
    """What a cluster would have beside the edge's own objects."""
    controller = "gateway.envoyproxy.io/gatewayclass-controller"
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "kgateway"},
            "spec": {"controllerName": controller},
        },
        *(_service(name, port) for name, port in (("router", 8080), ("vllm-svc", 8000))),
        _certificate(),
    ]


def _service(name: str, port: int) -> dict[str, Any]:
    ports = [{"name": "http", "protocol": "TCP", "port": port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"clusterIP": "127.0.0.1", "ports": ports},
    }


def _certificate() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    parts = {"tls.crt": certificate.public_bytes(pem), "tls.key": private}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(value).decode() for name, value in parts.items()},
    }


def _domain() -> dict[str, Any]:
    return http_route("bank-ledger", ["bank"], NAMESPACE, "edge", "router", 8080)


def _own() -> list[dict[str, Any]]:
    return [
        environment_route(NAMESPACE, "edge", "router", 8080, refuse_unknown=False),
        redirect_route(NAMESPACE, "edge", PLAIN_LISTENER),
    ]


class Translated:
    """Envoy's listeners and routes."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        translate = translate_with_egctl(ROOT / ".tools" / "bin" / "egctl")
        answer = yaml.safe_load(translate(yaml.safe_dump_all([*_around(), *objects])))
        (configs,) = (each["configs"] for each in answer["xds"].values())
        self._dumps = {each["@type"].rpartition(".")[2]: each for each in configs}

    def encrypted(self) -> dict[str, bool]:
        """Whether each listener of the Gateway terminates TLS."""
        listeners = (
            each["activeState"]["listener"]
            for each in self._dumps["ListenersConfigDump"]["dynamicListeners"]
        )
        return {
            each["name"].rpartition("/")[2]: any(
                "transportSocket" in chain for chain in each.get("filterChains", [])
            )
            for each in listeners
            if each["name"].startswith(f"{NAMESPACE}/")
        }

    def routes(self, listener: str) -> Iterator[Route]:
        """Routes of a listener."""
        for each in self._dumps["RoutesConfigDump"].get("dynamicRouteConfigs", []):
            if each["routeConfig"]["name"] == f"{NAMESPACE}/edge/{listener}":
                for host in each["routeConfig"]["virtualHosts"]:
                    assert host["domains"] == [HOST]
                    yield from host["routes"]


def _owner(route: Route) -> str:
    return str(route["name"].split("/")[2])


def _domain_values(route: Route) -> set[str]:
    return {
        header["stringMatch"]["exact"]
        for header in route["match"].get("headers", [])
        if header["name"].lower() == "x-customer-domain"
    }


@pytest.fixture(scope="module")
def whole() -> Translated:
    return Translated(_gateway(), _domain(), *_own())


def test_the_api_is_encrypted_and_plain_http_only_redirects(whole: Translated) -> None:
    assert whole.encrypted() == {LISTENER: True, PLAIN_LISTENER: False}
    assert {_owner(route) for route in whole.routes(LISTENER)} == {
        "domain-bank-ledger",
        "edge-environment",
    }
    (redirect,) = whole.routes(PLAIN_LISTENER)
    assert redirect["redirect"]["schemeRedirect"] == "https"
    assert "route" not in redirect


def test_a_route_that_names_no_listener_would_be_served_in_the_clear() -> None:
    careless = copy.deepcopy(_domain())
    del careless["spec"]["parentRefs"][0]["sectionName"]
    translated = Translated(_gateway(), careless, *_own())
    assert "domain-bank-ledger" in {_owner(route) for route in translated.routes(PLAIN_LISTENER)}


def test_each_method_and_name_of_a_domain_is_a_route_of_its_own(whole: Translated) -> None:
    """A local rate limit has a bucket for each of them."""
    mine = [route for route in whole.routes(LISTENER) if _owner(route) == "domain-bank-ledger"]
    assert len(mine) == 2 * 2
    # Envoy takes the first that matches: the domain's come before the one for everybody.
    owners = [_owner(route) for route in whole.routes(LISTENER)]
    assert owners.index("edge-environment") == len(mine)


def test_without_a_certificate_the_api_is_plain_http_and_alone() -> None:
    translated = Translated(
        _gateway(None, redirects=False),
        _domain(),
        environment_route(NAMESPACE, "edge", "router", 8080, refuse_unknown=False),
    )
    assert translated.encrypted() == {LISTENER: False}
    assert any(_domain_values(route) == {"bank"} for route in translated.routes(LISTENER))


def test_what_stands_in_place_of_the_guides_route(whole: Translated) -> None:
    """The guide sends `X-Customer-Domain: bank` straight to vLLM; here it goes to the router."""
    guides = yaml.safe_load(GUIDES_ROUTE)
    # As printed it names no Gateway, and would be served by none.
    guides["metadata"]["namespace"] = NAMESPACE
    guides["spec"]["parentRefs"] = [{"name": "edge", "sectionName": LISTENER}]
    (theirs,) = Translated(_gateway(redirects=False), guides).routes(LISTENER)
    assert _domain_values(theirs) == {"bank"}
    ours = [route for route in whole.routes(LISTENER) if _domain_values(route) == {"bank"}]
    assert len(ours) == 2
    for route in ours:
        # The same header and value, on the paths of the API; a key is looked at before vLLM is.
        assert route["match"]["pathSeparatedPrefix"] == "/v1"
        assert {"x-bf-vk", "x-forwarded-user"} <= set(route["requestHeadersToRemove"])
        assert "requestHeadersToRemove" not in theirs
    backends = {each["name"] for rule in _domain()["spec"]["rules"] for each in rule["backendRefs"]}
    assert backends == {"router"}
    assert guides["spec"]["rules"][0]["backendRefs"] == [{"name": "vllm-svc", "port": 8000}]
