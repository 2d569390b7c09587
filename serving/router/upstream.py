"""The connection to the model servers."""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import aiohttp

from serving.engine_gateway.bootstrap import ENGINE_LOST
from serving.router.bounds import MAX_ATTEMPTS
from serving.router.errors import Refusal, RefusedError
from serving.router.model_servers import Lease, ModelServers
from serving.router.resolution import Serving

_RETRY_SOON: Final = {"Retry-After": "2"}
_UNREACHABLE: Final = Refusal(
    502, "upstream_unreachable", "the model server cannot be reached", headers=_RETRY_SOON
)
_NONE_READY: Final = Refusal(
    503, "no_server_ready", "no model server takes requests at the moment", headers=_RETRY_SOON
)
_NOT_LOADED: Final = Refusal(
    503,
    "release_not_loaded",
    "the model server does not hold the release yet",
    headers=_RETRY_SOON,
)
_PAUSE_S: Final = 0.05


class Answer:
    """An answer whose head is there, and its place at the server."""

    def __init__(self, response: aiohttp.ClientResponse, lease: Lease) -> None:
        self.response, self.lease = response, lease

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.lease:
            await self.response.__aexit__(kind, error, trace)

    def close(self) -> None:
        """Give it up: the server stops working on it."""
        with self.lease:
            self.response.close()


class Upstream:
    """Opens answers; tries once more, at another server if there is one.

    That is when the connection broke before the first byte, and when the server has forgotten the
    release, as one that was started again has.
    """

    def __init__(self, session: aiohttp.ClientSession, *, connect_timeout_s: float) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)

    async def open(
        self,
        servers: ModelServers,
        target: Serving,
        path: str,
        body: bytes,
        *,
        headers: dict[str, str],
        on_attempt: Callable[[int, str | None], None],
    ) -> Answer:
        """Send a request and return the answer once its headers are there.

        Args:
            servers: Those of the release's pool.
            target: The release.
            path: Path of the request.
            body: Its body.
            headers: What goes along. None of the client's own do: neither its key nor anything
                that names a tenant or steers a gateway is for the model server to see.
            on_attempt: Called before each attempt with its number and the pod that it goes to.

        Raises:
            RefusedError: 502 after the last connection error; 503 when no holder takes requests.
        """
        lease = servers.choose(target)
        if lease is None:
            raise RefusedError(_NONE_READY)
        attempt = 1
        while True:
            on_attempt(attempt, lease.pod)
            last = attempt == MAX_ATTEMPTS
            other: Lease | None = None
            try:
                answer = await self._post(lease, path, body, headers)
            except aiohttp.ClientConnectionError as error:
                if not last:
                    other = await _after_loss(servers, target, lease)
                if other is None:
                    raise RefusedError(_UNREACHABLE) from error
            else:
                if not last and answer.response.status == 404:
                    other = servers.choose(target, without=lease)
                if other is None:
                    return answer
                answer.close()
            lease = other
            attempt += 1

    async def _post(self, lease: Lease, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        with contextlib.ExitStack() as unless_answered:
            unless_answered.enter_context(lease)
            try:
                response = await self._session.post(
                    f"{lease.base_url}{path}",
                    data=body,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
                _refuse_lost(response)
            except aiohttp.ClientConnectionError:
                lease.lost()
                raise
            lease.answered(response.status)
            unless_answered.pop_all()
            return Answer(response, lease)


def _refuse_lost(response: aiohttp.ClientResponse) -> None:
    """Take the word of a pod's Envoy, which goes on when vLLM ends, for a broken connection.

    Raises:
        aiohttp.ClientConnectionError: Envoy has no answer of vLLM.
    """
    if ENGINE_LOST in response.headers:
        response.close()
        raise aiohttp.ServerDisconnectedError(f"vLLM: {response.headers[ENGINE_LOST]}")


async def _after_loss(servers: ModelServers, target: Serving, lost: Lease) -> Lease | None:
    """A place at another server; at the same one after a pause where there is no other."""
    other = servers.choose(target, without=lost)
    if other is None:
        await asyncio.sleep(_PAUSE_S)
        other = servers.choose(target)
    return other


def refuse_failed(status: int) -> None:
    """Turn a failed answer of the model server into what it means to the client.

    The client's own mistakes (other 4xx) pass. The model server's 404 is about a name that the
    router chose, so it is not the client's fault.

    Raises:
        RefusedError: 502 or 503.
    """
    if status == 404:
        raise RefusedError(_NOT_LOADED)
    if status >= 500 or 300 <= status < 400:
        raise RefusedError(
            Refusal(502, "upstream_failed", f"the model server failed with HTTP status {status}")
        )
