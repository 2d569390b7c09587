"""From a client's request to an admitted one, or to a refusal."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from serving.ledger.ids import new_request_id
from serving.router.body import ParsedBody, parse
from serving.router.config import Limits
from serving.router.errors import Refusal, RefusedError
from serving.router.metering import Exchange
from serving.router.targets import Targets
from serving.router.tenancy import Caller, TenantDirectory, authorize
from serving.tracing.content import MAX_CAPTURED_BYTES

_EDGE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True)
class Admitted:
    """A request that will be served."""

    exchange: Exchange
    body: ParsedBody


class InFlight:
    """Bounds what is served at the same time, for the router and for each domain."""

    def __init__(self, limits: Limits, on_change: Callable[[int], None]) -> None:
        self._limits = limits
        self._on_change = on_change
        self._domains: Counter[str] = Counter()
        self.total = 0

    @contextmanager
    def slot(self, domain: str) -> Iterator[None]:
        """Hold one slot.

        Raises:
            RefusedError: 429 when the router or the domain has no slot left.
        """
        if self.total >= self._limits.max_in_flight:
            raise self._busy("the router", self._limits.max_in_flight)
        if self._domains[domain] >= self._limits.max_in_flight_per_domain:
            raise self._busy(f"domain {domain}", self._limits.max_in_flight_per_domain)
        self._move(domain, 1)
        try:
            yield
        finally:
            self._move(domain, -1)

    def _move(self, domain: str, by: int) -> None:
        self.total += by
        self._domains[domain] += by
        if not self._domains[domain]:
            del self._domains[domain]
        self._on_change(self.total)

    def _busy(self, who: str, limit: int) -> RefusedError:
        return RefusedError(
            Refusal(
                429,
                "too_many_requests",
                f"{who} serves {limit} requests at once: try again shortly",
                headers={"Retry-After": str(self._limits.retry_after_s)},
            )
        )


def authenticate(request: web.Request, directory: TenantDirectory) -> Caller:
    """The caller of a request. Raises RefusedError."""
    outcome = authorize(
        directory,
        authorization=request.headers.get("Authorization"),
        domain_headers=request.headers.getall("X-Customer-Domain", []),
    )
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return outcome


async def admit(
    request: web.Request,
    caller: Caller,
    limits: Limits,
    targets: Targets,
    *,
    operation: str,
) -> Admitted:
    """Read the body and pin the request to a release. Raises RefusedError."""
    data = await _read_body(request, limits)
    body = parse(data)
    target = await targets.find(caller, body.asked)
    edge_id = request.headers.get("X-Request-Id", "")
    exchange = Exchange(
        # A client could repeat an id of its choice and be billed once: the key of the ledger is
        # the router's own, and the edge's goes into the trace beside it.
        request_id=new_request_id(time.time_ns() // 1_000_000),
        edge_request_id=edge_id if _EDGE_ID.fullmatch(edge_id) else None,
        tenant=caller.tenant,
        target=target,
        operation=operation,
        requested_model=body.asked.model[:200],
        stream=body.stream,
        # A trace may wait in memory while its collector is away: no more of it than of an answer.
        prompt=data if _captured(caller, data) else b"",
    )
    return Admitted(exchange, body)


def _captured(caller: Caller, data: bytes) -> bool:
    return caller.tenant.content_capture != "off" and len(data) <= MAX_CAPTURED_BYTES


async def _read_body(request: web.Request, limits: Limits) -> bytes:
    if request.content_length is not None and request.content_length > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(limits) from error
    except TimeoutError as error:
        raise RefusedError(
            Refusal(408, "body_timeout", "the request body did not arrive in time")
        ) from error


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(
        Refusal(
            413,
            "request_too_large",
            f"the request body is over the limit of {limits.max_body_bytes} bytes",
            headers={"Connection": "close"},
        )
    )
