"""How the processes that listen start, and how they stop."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from serving.settings import Listen

_log = logging.getLogger(__name__)


def stop_on_signals() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    listen: Listen,
    *,
    handler_cancellation: bool = False,
    shutdown_timeout_s: float = 60,
) -> AsyncIterator[str]:
    """Serve an application until the block ends; gives its URL.

    Args:
        app: The application.
        listen: Where; with port 0 the system chooses one.
        handler_cancellation: Whether a client that goes away cancels its handler.
        shutdown_timeout_s: How long requests in flight may still take at the end.

    Raises:
        OSError: The port is taken.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=handler_cancellation,
        shutdown_timeout=shutdown_timeout_s,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}"
        _log.info("listening on %s", url)
        yield url
    finally:
        await runner.cleanup()


async def serve_beside(
    work: Callable[[], Awaitable[None]], app: web.Application, listen: Listen
) -> None:
    """Work, and serve an application that shows it, until SIGTERM or SIGINT.

    Raises:
        OSError: The port is taken.
    """
    stop = stop_on_signals()
    async with listening(app, listen):
        working = asyncio.ensure_future(work())
        try:
            await stop.wait()
        finally:
            working.cancel()
    _log.info("stopped")
