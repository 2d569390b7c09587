"""Traces that wait for the tracer's thread, bounded in number and in the content they carry."""

import threading
from collections import deque

from serving.tracing.trace import InferenceTrace


class Backlog:
    """A queue that refuses instead of growing.

    Taking does not wait and putting wakes nobody: a thread that woke for each trace would take the
    interpreter from the requests each time.
    """

    def __init__(self, *, traces: int, content_bytes: int) -> None:
        self._most = traces
        self._most_bytes = content_bytes
        self._lock = threading.Lock()
        self._waiting: deque[InferenceTrace] = deque()
        self._bytes = 0

    def put(self, trace: InferenceTrace) -> bool:
        """Add a trace; false when there is no room for it."""
        size = _content_bytes(trace)
        with self._lock:
            if len(self._waiting) >= self._most or self._bytes + size > self._most_bytes:
                return False
            self._waiting.append(trace)
            self._bytes += size
        return True

    def take(self, limit: int) -> list[InferenceTrace]:
        """Remove up to `limit` traces, the oldest first."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._bytes -= sum(map(_content_bytes, taken))
        return taken

    def __len__(self) -> int:
        return len(self._waiting)


def _content_bytes(trace: InferenceTrace) -> int:
    return len(trace.prompt) + len(trace.answer)
