"""Serves one admitted request: model server to client, metered before its last byte."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import pydantic_core
from aiohttp import web

from serving.ledger import LedgerError
from serving.router.errors import Refusal, RefusedError
from serving.router.metering import CLIENT_CLOSED, Exchange, Meter
from serving.router.model_servers import ModelServers
from serving.router.sse import StreamFilter, usage_of
from serving.router.upstream import Answer, Upstream, refuse_failed

_log = logging.getLogger(__name__)

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": "identity",
}
_LEDGER_DOWN: Final = Refusal(
    503, "ledger_unavailable", "requests cannot be recorded now, so none is served"
)
_TOO_LATE: Final = Refusal(504, "deadline_exceeded", "the answer took longer than the time limit")
_BROKE_OFF: Final = Refusal(502, "upstream_broke_off", "the model server broke off its answer")


@dataclass(frozen=True)
class Route:
    """Where a request goes."""

    servers: ModelServers
    path: str
    headers: Mapping[str, str]
    """What the gateway before the servers asks for."""


class _ClientGoneError(Exception):
    """The client closed its connection before the answer's end."""


class Relay:
    """Carries answers from the pool to clients."""

    def __init__(
        self,
        upstream: Upstream,
        meter: Meter,
        *,
        request_timeout_s: float,
        on_retry: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._meter = meter
        self._timeout_s = request_timeout_s
        self._on_retry = on_retry

    async def serve(
        self,
        request: web.Request,
        exchange: Exchange,
        route: Route,
        body: bytes,
        *,
        keep_usage_chunk: bool,
    ) -> web.StreamResponse:
        """Answer the client. Every way out records the event, once.

        Raises:
            RefusedError: Nothing was sent yet; the event is durable.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        events = StreamFilter(keep_usage_chunk=keep_usage_chunk)
        try:
            async with await self._begin(exchange, route, body, deadline) as answer:
                if answer.response.content_type != "text/event-stream":
                    return await self._whole(exchange, answer, deadline)
                return await self._stream(request, exchange, answer, events, deadline)
        except RefusedError as error:
            raise await self._refused(exchange, error.refusal) from error
        except TimeoutError as error:
            raise await self._refused(exchange, _TOO_LATE) from error
        except LedgerError as error:
            raise await self._refused(exchange, _LEDGER_DOWN) from error
        except aiohttp.ClientError as error:
            raise await self._refused(exchange, _BROKE_OFF) from error
        except (asyncio.CancelledError, _ClientGoneError) as error:
            # Nobody is left to answer; connections to the model server close on the way out.
            _fail(exchange, CLIENT_CLOSED, "client_closed")
            raise asyncio.CancelledError from error
        except Exception:
            _fail(exchange, 500, "internal_error")
            raise
        finally:
            self._meter.finish(exchange)

    async def _begin(
        self, exchange: Exchange, route: Route, body: bytes, deadline: float
    ) -> Answer:
        """Record the intent and wait for the head of the answer, both at once."""
        intent = self._meter.admit(exchange)

        def on_attempt(attempt: int, pod: str | None) -> None:
            exchange.attempts, exchange.server = attempt, pod
            if attempt > 1:
                self._on_retry(exchange.target.pool)

        async with asyncio.timeout_at(deadline):
            answer = await self._upstream.open(
                route.servers,
                exchange.target,
                route.path,
                body,
                headers={**_HEADERS, **route.headers, "X-Request-Id": exchange.request_id},
                on_attempt=on_attempt,
            )
            try:
                await intent
                refuse_failed(answer.response.status)
            except BaseException:
                answer.close()
                raise
        return answer

    async def _refused(self, exchange: Exchange, refusal: Refusal) -> RefusedError:
        """Record a request that ends with an error instead of an answer."""
        _fail(exchange, refusal.status, refusal.code)
        try:
            await self._meter.finish(exchange)
        except LedgerError:
            return RefusedError(_LEDGER_DOWN)
        return RefusedError(refusal)

    async def _whole(
        self, exchange: Exchange, answer: Answer, deadline: float
    ) -> web.StreamResponse:
        status = answer.response.status
        try:
            async with asyncio.timeout_at(deadline):
                data = await answer.response.read()
        except aiohttp.ClientError:
            answer.lease.lost()
            raise
        exchange.status = status
        exchange.saw_bytes(data)
        if status >= 400:
            exchange.error = "upstream_refused"
        else:
            exchange.usage = usage_of(_field(data, "usage"))
        await self._meter.finish(exchange)
        return web.Response(
            status=status,
            body=data,
            headers={**answer_headers(exchange), "Content-Type": "application/json"},
        )

    async def _stream(
        self,
        request: web.Request,
        exchange: Exchange,
        answer: Answer,
        events: StreamFilter,
        deadline: float,
    ) -> web.StreamResponse:
        status = answer.response.status
        response = web.StreamResponse(
            status=status,
            headers={
                **answer_headers(exchange),
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
            },
        )
        await response.prepare(request)
        exchange.status = status
        try:
            async with asyncio.timeout_at(deadline):
                await _pump(exchange, answer.response, response, events)
        except TimeoutError:
            # What was delivered until then is billed: the status that the client got stands.
            _fail(exchange, status, _TOO_LATE.code)
        except aiohttp.ClientError:
            answer.lease.lost()
            _fail(exchange, _BROKE_OFF.status, _BROKE_OFF.code)
        finally:
            exchange.usage = events.usage()
        if (events.failed or not events.complete) and exchange.error is None:
            _fail(exchange, _BROKE_OFF.status, _BROKE_OFF.code)
        await self._end(exchange, response, events)
        return response

    async def _end(
        self, exchange: Exchange, response: web.StreamResponse, events: StreamFilter
    ) -> None:
        """Record the event, then send the stream's last bytes."""
        try:
            await self._meter.finish(exchange)
        except LedgerError:
            _fail(exchange, _LEDGER_DOWN.status, _LEDGER_DOWN.code)
        last = events.end()
        if exchange.error is not None:
            refusal = Refusal(exchange.status, exchange.error, "the answer ends here, incomplete")
            last = b"data: %b\n\n" % pydantic_core.to_json(refusal.body())
        try:
            await response.write(last)
            await response.write_eof()
        except ConnectionResetError as error:
            raise _ClientGoneError from error


async def _pump(
    exchange: Exchange,
    answer: aiohttp.ClientResponse,
    response: web.StreamResponse,
    events: StreamFilter,
) -> None:
    # write() waits while the client does not read, and reading from the model server then waits
    # too: what is buffered between them is bounded.
    async for data in answer.content.iter_any():
        ready = events.feed(data)
        if not ready:
            continue
        exchange.saw_bytes(ready)
        try:
            await response.write(ready)
        except ConnectionResetError as error:
            raise _ClientGoneError from error


def answer_headers(exchange: Exchange) -> dict[str, str]:
    """What the client learns about who answered."""
    headers = {
        "X-Request-Id": exchange.request_id,
        "X-Served-Model": exchange.target.served_model,
    }
    release = exchange.target.release
    return headers if release is None else {**headers, "X-Release-Version": release}


def _fail(exchange: Exchange, status: int, error: str) -> None:
    if exchange.finished is None:
        exchange.status, exchange.error = status, error


def _field(data: bytes, name: str) -> object:
    try:
        value = pydantic_core.from_json(data)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None
