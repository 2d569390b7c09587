"""Where traces go: for the router that sends them, and the reconciliation that asks for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from components.pods import NAME_LABEL, NetworkPeer, Peer, PodPeer, SecretKey
from serving.reconciliation.config import AnyTraces
from serving.reconciliation.config import LangfuseTraces as ComparedLangfuse
from serving.reconciliation.config import MlflowTraces as ComparedMlflow
from serving.tracing.config import (
    LangfuseTarget,
    MlflowTarget,
    OtlpTarget,
    SecretSource,
    TracingConfig,
)
from stacks.config.services import LangfuseTraces, MlflowTraces, OtlpTraces, ServicesConfig
from stacks.programs.cluster.context import LANGFUSE
from stacks.programs.cluster.mlflow_users import login_variables, reader, writer

LANGFUSE_WEB_PORT: Final = 3000
LANGFUSE_WEB: Final = {NAME_LABEL: "langfuse", "app": "web"}
"""Labels of Langfuse's pods that receive traces and answer questions, as its chart sets them."""
_PUBLIC: Final = "LANGFUSE_PUBLIC_KEY"
_SECRET: Final = "LANGFUSE_SECRET_KEY"  # noqa: S105  name of a variable
PROJECT_KEYS: Final = {_PUBLIC: "project-public-key", _SECRET: "project-secret-key"}
"""Keys of Langfuse's Secret by the variables that its clients read."""


@dataclass(frozen=True, kw_only=True)
class TraceReceiver:
    """Where traces go, and how one is let in."""

    tracing: TracingConfig
    """Of the routers."""
    peers: tuple[Peer, ...]
    secrets: Mapping[str, SecretKey]
    """Environment variables of the routers."""
    reading: Mapping[str, SecretKey]
    """Environment variables of the reconciliation."""
    compared: AnyTraces | None
    """What the reconciliation asks; None: nothing can be asked."""


def langfuse_url() -> str:
    """Langfuse inside the cluster."""
    return f"http://langfuse-web.{LANGFUSE}.svc:{LANGFUSE_WEB_PORT}"


def receiver_of(
    config: ServicesConfig,
    environment: str,
    *,
    mlflow_url: str,
    mlflow: PodPeer,
) -> TraceReceiver:
    """Where the traces of an environment go."""
    traces = config.traces
    if isinstance(traces, MlflowTraces):
        return _mlflow(traces, environment, mlflow_url, mlflow)
    if isinstance(traces, LangfuseTraces):
        return _langfuse(traces, environment)
    return _otlp(traces, environment)


def _mlflow(traces: MlflowTraces, environment: str, url: str, server: PodPeer) -> TraceReceiver:
    login = login_variables(writer(traces).secret)
    user, password = (SecretSource(env=name) for name in login)
    target = MlflowTarget(url=url, experiment=traces.experiment, username=user, password=password)
    return TraceReceiver(
        tracing=TracingConfig(target=target, environment=environment),
        peers=(server,),
        secrets=login,
        reading=login_variables(reader(traces).secret),
        compared=ComparedMlflow(url=url, experiment=traces.experiment),
    )


def _langfuse(traces: LangfuseTraces, environment: str) -> TraceReceiver:
    url = langfuse_url()
    target = LangfuseTarget(
        url=url, public_key=SecretSource(env=_PUBLIC), secret_key=SecretSource(env=_SECRET)
    )
    project = {name: SecretKey(secret=traces.secret, key=key) for name, key in PROJECT_KEYS.items()}
    return TraceReceiver(
        tracing=TracingConfig(target=target, environment=environment),
        peers=(PodPeer(namespace=LANGFUSE, labels=LANGFUSE_WEB, port=LANGFUSE_WEB_PORT),),
        secrets=project,
        reading=project,
        compared=ComparedLangfuse(url=url, environment=environment),
    )


def _otlp(traces: OtlpTraces, environment: str) -> TraceReceiver:
    address = urlsplit(traces.endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    return TraceReceiver(
        tracing=TracingConfig(target=OtlpTarget(endpoint=traces.endpoint), environment=environment),
        peers=tuple(NetworkPeer(cidr=cidr, port=port) for cidr in traces.networks),
        secrets={},
        reading={},
        compared=None,
    )
