"""The connection to the model servers."""

import asyncio
from collections.abc import Callable

import aiohttp

from serving.router.bounds import MAX_ATTEMPTS
from serving.router.errors import Refusal, RefusedError


class Upstream:
    """Opens answers; tries once more when the connection broke before the first byte."""

    def __init__(self, session: aiohttp.ClientSession, *, connect_timeout_s: float) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)

    async def open(
        self,
        url: str,
        body: bytes,
        *,
        request_id: str,
        on_attempt: Callable[[int], None],
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer once its headers are there.

        None of the client's own headers go along: neither its key nor anything that names a
        tenant or steers a gateway is for the model server to see.

        Raises:
            RefusedError: 502 after the last connection error.
        """
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "X-Request-Id": request_id,
        }
        for attempt in range(1, MAX_ATTEMPTS + 1):
            on_attempt(attempt)
            try:
                return await self._session.post(
                    url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
                )
            except aiohttp.ClientConnectionError as error:
                failure = error
            await asyncio.sleep(0.05 if attempt < MAX_ATTEMPTS else 0)
        raise RefusedError(
            Refusal(
                502,
                "upstream_unreachable",
                "the model server cannot be reached",
                headers={"Retry-After": "2"},
            )
        ) from failure


def refuse_failed(status: int) -> None:
    """Turn a failed answer of the model server into what it means to the client.

    The client's own mistakes (other 4xx) pass. The model server's 404 is about a name that the
    router chose, so it is not the client's fault.

    Raises:
        RefusedError: 502 or 503.
    """
    if status == 404:
        raise RefusedError(
            Refusal(
                503,
                "release_not_loaded",
                "the model server does not hold the release yet",
                headers={"Retry-After": "2"},
            )
        )
    if status >= 500 or 300 <= status < 400:
        raise RefusedError(
            Refusal(502, "upstream_failed", f"the model server failed with HTTP status {status}")
        )
