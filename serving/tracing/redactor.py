"""Runs the redaction in a process of its own.

Searching a text holds the interpreter, for seconds where a text is long or made to be slow, and
importing Presidio does too. In a process of its own, at a low priority, neither is felt by a
request, and a search that takes too long can be ended.
"""

import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from serving.tracing.content import as_json, input_messages, output_messages
from serving.tracing.redaction import Redactor

_log = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 120.0
_START_AGAIN_S: Final = 60.0
_NICE: Final = 10

Captured = tuple[bytes, bytes, bool]
"""A request's body, its answer, and whether that is a stream."""
Redacted = tuple[str | None, str | None]
"""Messages of the prompt and of the answer, as JSON."""


class RedactionError(Exception):
    """The content could not be redacted, so it must not be shown."""


class RedactorProcess:
    """The process, started when it is first needed, and again after it was ended."""

    def __init__(self, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._not_before = 0.0

    def redacted(self, captured: Captured) -> Redacted:
        """Prompt and answer as messages without personal data and secrets.

        Raises:
            RedactionError: It took too long, failed, or the process cannot be started.
        """
        try:
            connection = self._connection or self._start()
            connection.send(captured)
            reply = _receive(connection, self._timeout_s)
        except (OSError, EOFError) as error:
            self.close()
            raise RedactionError(f"redaction ended: {type(error).__name__}") from error
        if isinstance(reply, str):
            raise RedactionError(f"redaction failed: {reply}")
        return reply

    def close(self) -> None:
        """End the process."""
        process, self._process, self._connection = self._process, None, None
        if process is not None:
            process.kill()
            process.join(1)

    def _start(self) -> Connection:
        if time.monotonic() < self._not_before:
            raise ConnectionError
        self._not_before = time.monotonic() + _START_AGAIN_S
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        self._process = context.Process(target=serve, args=(its,), name="redaction", daemon=True)
        self._process.start()
        # Only the process holds its end now: when it dies, reading here ends too.
        its.close()
        _receive(mine, _START_TIMEOUT_S)
        self._connection = mine
        self._not_before = 0.0
        return mine


def serve(connection: Connection) -> None:
    """The process: says that it is ready, then answers each content, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    redactor = Redactor()
    connection.send(("ready", None))
    while True:
        try:
            captured = connection.recv()
        except EOFError:
            return
        connection.send(_redacted(redactor, captured))


def _redacted(redactor: Redactor, captured: Captured) -> Redacted | str:
    prompt, answer, stream = captured
    try:
        return (
            as_json(redactor.value(input_messages(prompt))),
            as_json(redactor.value(output_messages(answer, stream=stream))),
        )
    except Exception as error:
        # Its type alone: the message could quote the text.
        return type(error).__name__


def _receive(connection: Connection, timeout_s: float) -> Redacted | str:
    if not connection.poll(timeout_s):
        raise TimeoutError
    reply: Redacted | str = connection.recv()
    return reply
