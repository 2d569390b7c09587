"""What the engine asks of every provider, answered the same by every stand-in, and its server."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, resource_pb2
from pulumi.runtime.proto.provider_pb2_grpc import (
    ResourceProviderServicer,
    add_ResourceProviderServicer_to_server,
)

from benchmarks.processes import free_port

_LARGEST_MESSAGE = 400 * 1024 * 1024
_AT_ONCE = 32


class StandIn(ResourceProviderServicer):
    """A provider that accepts every configuration."""

    version = "0.0.0"
    """The engine warns of a provider that is older than the program's library."""
    keeps_secrets = False
    """Whether values arrive with the marks of secrets; the engine puts them back otherwise."""

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self.version)

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        keeps = self.keeps_secrets
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=keeps, accept_resources=keeps, accept_outputs=keeps
        )

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        keeps = self.keeps_secrets
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, acceptSecrets=keeps, acceptResources=keeps, acceptOutputs=keeps
        )

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()


def registration(request: Any) -> Any:
    """What registers the component that a `Construct` asks for."""
    return resource_pb2.RegisterResourceRequest(
        type=request.type,
        name=request.name,
        parent=request.parent,
        protect=request.protect,
        providers=dict(request.providers),
        dependencies=list(request.dependencies),
        aliases=list(request.aliases),
        acceptResources=True,
    )


@contextlib.contextmanager
def serving(stand_in: StandIn) -> Iterator[int]:
    """Serve a stand-in; gives its port."""
    server = grpc.server(
        ThreadPoolExecutor(_AT_ONCE),
        options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE)],
    )
    add_ResourceProviderServicer_to_server(stand_in, server)
    port = server.add_insecure_port(f"127.0.0.1:{free_port()}")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
