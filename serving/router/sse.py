"""A stream of server-sent events on its way to the client. No I/O.

Works on bytes: chunks are not parsed one by one. That is sound because inside a JSON string every
quote and newline is escaped, so the patterns below cannot match what a model wrote.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import pydantic_core

_USAGE: Final = re.compile(rb',\s*"usage":\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_USAGE_CHUNK: Final = re.compile(rb'data: [^\n]*"choices":\s*\[\][^\n]*\n\n')
_DONE: Final = re.compile(rb"(?:^|(?<=\n))data: \[DONE\]")
_ERROR: Final = re.compile(rb'(?:^|(?<=\n))data: \{\s*"error"')
_END: Final = b"\n\n"


@dataclass(frozen=True)
class Usage:
    """Tokens of one request."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None


def usage_of(value: Any) -> Usage | None:
    """Read an OpenAI usage object; None when it is not one."""
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    if not isinstance(prompt, int):
        return None
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        prompt,
        completion if isinstance(completion, int) else 0,
        cached if isinstance(cached, int) else None,
    )


class StreamFilter:
    """Takes the usage out of a stream for the meter, and its end back until the meter has run."""

    def __init__(self, *, keep_usage_chunk: bool) -> None:
        """Start a stream.

        Args:
            keep_usage_chunk: Whether the client asked for the chunk with the final usage.
        """
        self._keep = keep_usage_chunk
        self._rest = b""
        self._last_usage = b""
        self._end = b""
        self.complete = False
        """Whether the stream came to its proper end."""
        self.failed = False
        """Whether the model server said in the stream that it failed."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the model server; return those that may go to the client now."""
        if self.complete:
            return b""
        data = self._rest + data
        cut = data.rfind(_END) + len(_END)
        if cut < len(_END):
            self._rest = data
            return b""
        ready, self._rest = data[:cut], data[cut:]
        done = _DONE.search(ready)
        if done is not None:
            ready, self._end = ready[: done.start()], ready[done.start() :]
            self.complete = True
        self.failed = self.failed or _ERROR.search(ready) is not None
        return self._without_usage(ready)

    def end(self) -> bytes:
        """What is still to be sent once the meter has run."""
        return self._end if self.complete else self._rest

    def usage(self) -> Usage | None:
        """The last usage that the model server reported."""
        if not self._last_usage:
            return None
        return usage_of(pydantic_core.from_json(self._last_usage))

    def _without_usage(self, ready: bytes) -> bytes:
        found = _USAGE.findall(ready)
        if not found:
            return ready
        self._last_usage = found[-1]
        final = _USAGE_CHUNK.search(ready)
        if final is None:
            return _USAGE.sub(b"", ready)
        kept = final.group() if self._keep else b""
        return _USAGE.sub(b"", ready[: final.start()]) + kept + ready[final.end() :]
